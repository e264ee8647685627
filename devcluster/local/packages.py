"""Installs the Debian packages that are missing; says what to install by hand where it cannot."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from devcluster import cache
from devcluster.console import step
from devcluster.errors import ClusterError

# What has to be there, and the Debian package that brings it.
NODE = {
    "/usr/bin/containerd": "containerd",
    "/usr/bin/ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "nft": "nftables",
    "conntrack": "conntrack",
}
CONTROL_PLANE = {"ip": "iproute2", "/usr/bin/unshare": "util-linux", "nsenter": "util-linux"}
IMAGES = {"buildah": "buildah", "debootstrap": "debootstrap"}
# The tests run on a real PostgreSQL, in a real browser and on disks that a library breaks, which they
# compile; the alerts' run on Prometheus' own tool.
TESTS = {"/usr/lib/postgresql": "postgresql", "promtool": "prometheus", "/usr/bin/chromium": "chromium"} | {
    "gcc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
}
# The server is measured against these, by wrk.
BENCH = {"/usr/lib/postgresql": "postgresql"} | {
    "/usr/bin/etcd": "etcd-server",
    "redis-server": "redis-server",
    "webdis": "webdis",
    "wrk": "wrk",
}
GROUPS = {"cluster": NODE | CONTROL_PLANE, "images": IMAGES, "tests": TESTS, "bench": BENCH}


def ensure(needed: Mapping[str, str]) -> None:
    """Install the packages of which a program is missing.

    `needed` maps a program's name or absolute path to its Debian package. Raises ClusterError where this
    user or this system cannot install them, with what to do.
    """
    packages = missing(needed)
    if not packages:
        return
    by_hand = f"install these packages and start again: {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise ClusterError(f"this is no Debian or Ubuntu; {by_hand}")
    if os.geteuid() != 0:
        raise ClusterError(f"only root can install packages; {by_hand} (sudo apt-get install …)")
    with cache.lock("apt"), step(f"Install {', '.join(packages)}"):
        _install(packages)
    if still := missing(needed):
        raise ClusterError(f"installed, yet the programs of {' '.join(still)} are not where they belong")


def missing(needed: Mapping[str, str]) -> list[str]:
    """The packages of which a program is missing, each once."""
    absent = [package for program, package in needed.items() if not _present(program)]
    return list(dict.fromkeys(absent))


def _present(program: str) -> bool:
    if program.startswith("/"):
        return Path(program).exists()
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def _install(packages: list[str]) -> None:
    # Recent package lists are usually there; fetching them first would cost every machine seconds.
    if _apt("install", *packages) != 0:
        _apt("update")
        if _apt("install", *packages) != 0:
            raise ClusterError(f"apt-get could not install {' '.join(packages)}", log())


def _apt(*arguments: str) -> int:
    options = ["-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]
    with log().open("a") as output:
        return subprocess.run(
            ["apt-get", *options, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            check=False,
        ).returncode


def log() -> Path:
    """Where apt-get's output is."""
    return cache.folder("logs") / "apt.log"
