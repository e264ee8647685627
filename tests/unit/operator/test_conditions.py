"""What is said of pods that do not serve."""

from typing import Any

from dumbkv_operator import conditions
from dumbkv_operator.apply import Outcome
from dumbkv_operator.children import DEPLOYMENT
from dumbkv_operator.conditions import Condition, Facts
from dumbkv_operator.reasons import Type
from dumbkv_operator.spec import parse
from tests.support.resources import body


def pod(name: str, created: int, *others: dict[str, str], **statuses: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": f"2026-01-01T00:00:0{created}Z"},
        "spec": {"nodeName": f"node-of-{name}"},
        "status": {
            "conditions": [{"type": kind, "status": status} for kind, status in statuses.items()]
            + list(others)
        },
    }


LOST = pod("old", 1, Ready="False", ContainersReady="True")
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "No room."}


def workload(*pods: dict[str, Any], available: int = 0) -> Condition:
    counts = {"updatedReplicas": 1, "replicas": 1, "availableReplicas": available}
    deployment = {
        "metadata": {"generation": 1},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 1, **counts},
    }
    outcome = Outcome(observed={DEPLOYMENT: deployment})
    computed = conditions.compute(Facts(parse(body()), outcome, pods=pods))
    return next(each for each in computed if each.type is Type.WORKLOAD_READY)


def test_a_lost_node_is_named_with_the_pod_on_it_and_what_to_do() -> None:
    told = workload(LOST)
    assert (told.status, told.reason) == ("False", "NodeUnreachable")
    assert "Pod old is on node node-of-old, which does not answer" in told.message
    assert "`kubectl delete node`" in told.message


def test_a_lost_node_is_named_before_what_it_holds_up() -> None:
    assert workload(LOST, pod("new", 2, UNSCHEDULABLE)).reason == "NodeUnreachable"
    assert workload(pod("new", 2, UNSCHEDULABLE)).reason == "Unschedulable"


def test_a_pod_that_is_not_ready_by_itself_is_no_lost_node() -> None:
    assert workload(pod("new", 2, Ready="False", ContainersReady="False")).reason == "RollingOut"
    assert workload(pod("new", 2)).reason == "RollingOut"


def test_what_is_left_on_a_lost_node_does_not_matter_once_the_new_pod_serves() -> None:
    ready = pod("new", 2, Ready="True", ContainersReady="True")
    assert workload(LOST, ready, available=1).reason == "Available"
