"""The one cable between the host and a cluster: an interface and a route, both gone with the cluster."""

import json
from ipaddress import IPv4Network
from pathlib import Path

from devcluster import cache
from devcluster.errors import ClusterError
from devcluster.local.addresses import BLOCKS, Addresses
from devcluster.local.commands import run, run_all
from devcluster.local.spec import Files, Spec

INNER = "uplink"


def exists(spec: Spec) -> bool:
    """Whether the host's end is there and routes to the cluster."""
    routes = json.loads(run("ip", "-json", "route"))
    return any(
        route.get("dev") == spec.addresses.interface and route.get("dst") == str(spec.addresses.network)
        for route in routes
    )


def free_block(name: str) -> int:
    """The number of a block of addresses that no other cluster and no route of the host uses.

    Raises ClusterError where all are taken.
    """
    taken = {
        spec.block
        for folder in (cache.folder("clusters")).iterdir()
        if folder.name != name and (spec := Files(folder.name).load()) is not None
    }
    routes = [
        IPv4Network(route["dst"], strict=False)
        for route in json.loads(run("ip", "-json", "-4", "route"))
        if route["dst"] != "default"
    ]
    for block, network in enumerate(BLOCKS):
        there = Path("/sys/class/net", Addresses(block).interface).exists()
        if not there and block not in taken and not any(network.overlaps(route) for route in routes):
            return block
    raise ClusterError(f"all {len(BLOCKS)} blocks of addresses are in use: take a cluster down")


def make(spec: Spec, pid: int | None) -> None:
    """Join the host and the cluster whose process 1 has this pid."""
    if pid is None:
        raise ClusterError("the cluster ended as soon as it started", spec.files.log("supervisor"))
    addresses, outside = spec.addresses, spec.addresses.interface
    enter = f"nsenter --target {pid} --net"
    run_all(
        [
            f"ip link add {outside} type veth peer name {INNER} netns {pid}",
            f"{enter} ip addr add {addresses.api}/30 dev {INNER}",
            f"{enter} ip link set {INNER} up",
            f"ip addr add {addresses.host}/30 dev {outside}",
            f"ip link set {outside} up",
            f"ip route add {addresses.network} via {addresses.api}",
        ]
    )
