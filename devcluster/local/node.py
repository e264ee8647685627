"""Process 1 of a node: containerd, kubelet and kube-proxy in namespaces of their own."""

import subprocess
import sys
import time
from pathlib import Path

from devcluster.local import cgroups, components, images_store
from devcluster.local.commands import run, run_all
from devcluster.local.keeper import Keeper
from devcluster.local.spec import Files
from devcluster.local.supervisor import prepare_mounts, set_sysctls

# What the kubelet wants of the kernel (k8s.io/component-helpers/node/util/sysctl).
KERNEL_SETTINGS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}


def main(folder: str, name: str) -> None:
    """Run the node of this name of the cluster whose files are in this folder, until killed."""
    files = Files(Path(folder).name)
    spec = files.load()
    if spec is None:
        raise SystemExit(f"{files.spec} is missing: take the cluster down and up again")
    index = int(name.removeprefix("node"))
    prepare_mounts()
    _shield_kernel_settings()
    cgroups.make(files.name, name)
    _wait_for_interface()
    run_all(
        [
            "ip link set lo up",
            f"ip addr add {spec.addresses.node(index)}/24 dev eth0",
            "ip link set eth0 up",
            f"ip route add default via {spec.addresses.control_plane}",
        ]
    )
    set_sysctls(ip_forward="1")
    processes = components.node(spec, index)
    keeper = Keeper(files.state(name), lambda: processes)
    keeper.start(processes[0])
    images_store.wait_for_containerd()
    for archive in sorted(files.images.glob("*.tar")):
        subprocess.run(images_store.import_command(archive), check=True)
    keeper.run()


def _shield_kernel_settings() -> None:
    """Let the kubelet find what it would otherwise set for the whole machine, which must stay as it was."""
    folder = Path("/run/kernel-settings")
    folder.mkdir()
    for number, (name, value) in enumerate(KERNEL_SETTINGS.items()):
        file = folder / str(number)
        file.write_text(f"{value}\n")
        run("mount", "--bind", str(file), f"/proc/sys/{name}")


def _wait_for_interface(timeout: float = 10) -> None:
    """Wait for the supervisor to put the node's end of the cable here."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if "eth0:" in Path("/proc/net/dev").read_text():
            return
        time.sleep(0.005)
    raise SystemExit(f"no network interface within {timeout:.0f} s: see the supervisor's log")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
