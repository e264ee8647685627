"""A real Kubernetes cluster on a plain Linux machine, without Docker: all of it ends with one process."""

from devcluster.local.cluster import LocalCluster

__all__ = ["LocalCluster"]
