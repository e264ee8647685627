"""Nodes that exist in the API only: kwok says for them that their pods run. For tests of scale."""

from typing import Any

from devcluster.console import step
from devcluster.local.cluster import LocalCluster
from devcluster.local.configuration import FAKE_NODE_LABEL

CAPACITY = {"cpu": "32", "memory": "256Gi", "pods": "110"}


def make(name: str, count: int) -> LocalCluster:
    """Have the local cluster of this name up with this many fake nodes; returns the cluster."""
    cluster = LocalCluster(name, api_only=True, fake_nodes=count)
    cluster.up()
    with step(f"Make {count} fake nodes"):
        cluster.kubectl().apply(*[manifest(index) for index in range(1, count + 1)])
    return cluster


def manifest(index: int) -> dict[str, Any]:
    """Fake node number `index`. Only pods that tolerate its taint are put there."""
    label, value = FAKE_NODE_LABEL.split("=")
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": f"fake{index}",
            "labels": {label: value, "kubernetes.io/hostname": f"fake{index}", "type": "kwok"},
        },
        "spec": {"taints": [{"key": label, "value": value, "effect": "NoSchedule"}]},
        "status": {"capacity": CAPACITY, "allocatable": CAPACITY},
    }
