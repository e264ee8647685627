"""What every cluster can do, whoever provides it, and which provider is taken."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Protocol

from devcluster.errors import ClusterError
from devcluster.kubectl import Kubectl
from devcluster.status import Status

NAMES = ("auto", "current", "kind", "local")
VARIABLE = "DUMBKV_CLUSTER"


class Provider(Protocol):
    """A cluster. Every method raises ClusterError, which says what to do."""

    def up(self) -> None:
        """Have the cluster running and its nodes Ready; at once where it already is."""

    def down(self) -> None:
        """Take it away with all that it left on this machine; nothing where there is none."""

    def status(self) -> Status:
        """What it is now."""

    def kubeconfig(self) -> Path:
        """The kubeconfig of the running cluster."""

    def kubectl(self) -> Kubectl:
        """Kubectl for this cluster."""

    def load(self, archive: Path) -> None:
        """Give every node the image of this docker-archive file."""


def choose(
    name: str | None = None,
    cluster: str = "dumbkv",
    *,
    nodes: int | None = None,
    api_only: bool = False,
) -> Provider:
    """The provider of this name (one of NAMES; by default $DUMBKV_CLUSTER, else `auto`) for this cluster.

    `auto` is kind where both kind and a Docker daemon answer, else the local one. It is never the current
    kubeconfig: that may be somebody's production cluster, so it has to be asked for by name.
    Raises ClusterError for an unknown name.
    """
    from devcluster.current import CurrentCluster
    from devcluster.kind import KindCluster
    from devcluster.local import LocalCluster

    wanted = name or os.environ.get(VARIABLE) or "auto"
    if wanted == "auto":
        wanted = "kind" if kind_works() and not api_only else "local"
    match wanted:
        case "current":
            return CurrentCluster()
        case "kind":
            return KindCluster(cluster, nodes=nodes or 1)
        case "local":
            return LocalCluster(cluster, nodes=nodes, api_only=api_only)
        case _:
            raise ClusterError(f"there is no provider {wanted!r}: give one of {', '.join(NAMES)}")


def candidates(name: str | None, cluster: str) -> list[Provider]:
    """Every provider that may have made this cluster: where none is named, both that `auto` may choose."""
    wanted = name or os.environ.get(VARIABLE) or "auto"
    if wanted != "auto":
        return [choose(wanted, cluster)]
    return [choose(each, cluster) for each in ("local", *(["kind"] if kind_works() else []))]


def kind_works() -> bool:
    """Whether the kind program is there and a Docker daemon answers it."""
    if shutil.which("kind") is None or shutil.which("docker") is None:
        return False
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
