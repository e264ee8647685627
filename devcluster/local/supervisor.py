"""Process 1 of a cluster: its network, its control plane, and its nodes as namespaces within."""

import sys
import time
from pathlib import Path

from devcluster.local import components, namespaces
from devcluster.local.commands import run, run_all
from devcluster.local.keeper import Keeper, Process
from devcluster.local.spec import Files, Spec

BRIDGE = "nodes"
BRIDGE_ADDRESS = "02:00:00:00:00:01"


def main(folder: str) -> None:
    """Run the cluster whose files are in this folder, until killed."""
    files = Files(Path(folder).name)
    spec = _load(files)
    prepare_mounts()
    run_all(
        [
            "ip link set lo up",
            # By default it has the lowest of its ports' addresses: when that port goes with its node, the
            # other nodes send to an address that nobody has.
            f"ip link add {BRIDGE} address {BRIDGE_ADDRESS} type bridge",
            f"ip addr add {spec.addresses.control_plane}/24 dev {BRIDGE}",
            f"ip link set {BRIDGE} up",
        ]
    )
    set_sysctls(
        ip_forward="1",
        # The nodes reach each other through here on purpose: do not tell them of a shorter way.
        **{f"conf/{link}/send_redirects": "0" for link in ("all", "default", BRIDGE)},
    )

    def wanted() -> list[Process]:
        return components.control_plane(_load(files)) + [
            _node(files, index) for index in range(1, _load(files).nodes + 1)
        ]

    Keeper(files.state("supervisor"), wanted, lambda process, pid: _join(spec, process, pid)).run()


def prepare_mounts() -> None:
    """Hide the folders that programs write into whatever they are told, so that nothing stays on the host."""
    run_all(["mount --make-rprivate /"])
    for hidden in ("/run", "/var/lib", "/var/log"):
        run("mount", "-t", "tmpfs", "tmpfs", hidden)


def set_sysctls(**values: str) -> None:
    """Set these `net.ipv4` settings of this network namespace, and what every one of a cluster needs."""
    # A connection whose other end was killed with its namespace would be repeated to nobody for a minute,
    # and would keep this namespace, with the host's interface to it, for as long.
    for name, value in {"tcp_orphan_retries": "1", **values}.items():
        Path(f"/proc/sys/net/ipv4/{name}").write_text(value)


def _load(files: Files) -> Spec:
    spec = files.load()
    if spec is None:
        raise SystemExit(f"{files.spec} is missing: take the cluster down and up again")
    return spec


def _node(files: Files, index: int) -> Process:
    name = f"node{index}"
    # A node that died stays dead until it is asked to rejoin: that is what it is killed for.
    return Process(
        name, namespaces.command(namespaces.NODE, str(files.folder), name), files.log(name), restart=False
    )


def _join(spec: Spec, process: Process, pid: int) -> None:
    """Put a node that has just started on the bridge."""
    if process.restart:
        return
    index = int(process.name.removeprefix("node"))
    inner = _wait_for_child(pid)
    if f"{process.name}:" in Path("/proc/net/dev").read_text():
        # The cable of a node that was killed stays as long as that one's last connections are not given up.
        run("ip", "link", "delete", process.name)
    run_all(
        [
            f"ip link add {process.name} type veth peer name eth0 netns {inner}",
            f"ip link set {process.name} master {BRIDGE} up",
            f"ip route replace {spec.addresses.node_pods(index)} via {spec.addresses.node(index)}",
        ]
    )


def _wait_for_child(pid: int, timeout: float = 10) -> int:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if found := namespaces.children(pid):
            return found[0]
        time.sleep(0.005)
    raise SystemExit(f"process {pid} (unshare) started nothing within {timeout:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1])
