"""Nodes that only pretend: hundreds of pods, on a real API server, scheduler and controllers."""

from devcluster.local import LocalCluster, fake_nodes
from devcluster.local.configuration import FAKE_NODE_LABEL
from tests.support.eventually import eventually

NAME = "tests-fake"


def test_a_deployment_of_two_hundred_pods_becomes_available_on_fake_nodes() -> None:
    label, value = FAKE_NODE_LABEL.split("=")
    try:
        kubectl = fake_nodes.make(NAME, 20).kubectl()
        eventually(lambda: LocalCluster(NAME).status().nodes.get("fake20"), "fake nodes Ready")
        kubectl.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "many"},
                "spec": {
                    "replicas": 200,
                    "selector": {"matchLabels": {"app": "many"}},
                    "template": {
                        "metadata": {"labels": {"app": "many"}},
                        "spec": {
                            "tolerations": [{"key": label, "operator": "Equal", "value": value}],
                            "containers": [{"name": "main", "image": "example.com/none:1"}],
                        },
                    },
                },
            }
        )
        kubectl("rollout", "status", "deployment/many", "--timeout=100s")
    finally:
        LocalCluster(NAME).down()
