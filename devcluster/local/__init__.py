"""A real Kubernetes cluster on a plain Linux machine, without Docker: all of it ends with one process."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from devcluster.local.cluster import LocalCluster

__all__ = ["LocalCluster"]


def __getattr__(name: str) -> Any:
    """Import the cluster when it is asked for.

    The processes inside a cluster are modules of this package too, and must not each load what only brings
    it up (cryptography, HTTP, progress bars): 25 MB and half a second of CPU for every node.
    """
    if name == "LocalCluster":
        from devcluster.local.cluster import LocalCluster

        return LocalCluster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
