"""Paused: watched and told, but not written. Suspended: no pod, the data kept."""

import pytest

from tests.operator.conftest import Operator, World
from tests.support.eventually import eventually
from tests.support.resources import postgres


def children(world: World) -> dict[str, str]:
    """Returns the resource versions of all children, and a Deployment's generation: its status may change."""
    versions = world.versions("kv")
    del versions["dumbkv"]
    if deployment := world.find("deployments", "kv"):
        versions["deployments/kv"] = str(deployment["metadata"]["generation"])
    return versions


def pending(world: World) -> str:
    """Returns what the operator says that it would do, without the pause, to the specification as it is."""
    message: str = world.wait_condition("kv", "Paused", "True", "Paused")["message"]
    assert message.startswith("No child is written. Without spec.paused the operator would now change: ")
    return message.partition("now change: ")[2]


def test_a_resource_that_is_born_paused_has_no_child_until_the_pause_ends(
    operator: Operator, world: World
) -> None:
    world.apply("kv", paused=True)
    listed = pending(world)
    for child in ("Secret kv-pepper", "PersistentVolumeClaim kv-data", "Deployment kv", "Service kv"):
        assert f"create {child}" in listed
    assert children(world) == {}
    world.apply("kv", paused=False)
    world.make_ready("kv")
    assert "Paused" not in world.conditions("kv")


def test_a_paused_resource_tells_an_edit_and_follows_it_when_the_pause_ends(
    operator: Operator, world: World
) -> None:
    world.apply("kv")
    world.make_ready("kv")
    before = children(world)
    world.apply("kv", paused=True)
    assert pending(world) == "nothing."
    world.wait_condition("kv", "Ready", "True")
    world.apply("kv", image="example.com/other:1")
    assert pending(world) == "update Deployment kv (spec.template.spec.containers[server].image)."
    world.wait_condition("kv", "Ready", "False", "ChangesPending")
    assert children(world) == before
    world.apply("kv", paused=False)
    world.make_ready("kv")
    pod = world.get("deployments", "kv")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "example.com/other:1"


def test_a_child_that_is_deleted_or_edited_during_a_pause_is_told_and_repaired_after_it(
    operator: Operator, world: World
) -> None:
    world.apply("kv")
    world.make_ready("kv")
    world.apply("kv", paused=True)
    assert pending(world) == "nothing."
    world.delete("services", "kv")
    world.patch("networkpolicies", "kv", {"spec": {"policyTypes": ["Ingress"]}})
    expected = "repair NetworkPolicy kv (spec.policyTypes); repair Service kv."
    eventually(lambda: pending(world) == expected, "both to be told", 10)
    assert world.find("services", "kv") is None
    assert "DriftCorrected" not in world.conditions("kv")
    world.apply("kv", paused=False)
    told = world.wait_condition("kv", "DriftCorrected", "True", "Repaired")
    assert told["message"] == "NetworkPolicy kv: set back spec.policyTypes; Service kv: made again"
    assert world.find("services", "kv")
    assert set(world.get("networkpolicies", "kv")["spec"]["policyTypes"]) == {"Ingress", "Egress"}


def test_a_pause_outlives_the_operator(operator: Operator, world: World) -> None:
    world.apply("kv")
    world.make_ready("kv")
    world.apply("kv", paused=True)
    world.apply("kv", image="example.com/other:1")
    pending(world)
    before = children(world)
    operator.stop()
    world.delete("services", "kv")
    del before["services/kv"]
    operator.start()
    eventually(lambda: "create Service kv" in pending(world), "the Service to be told", 20)
    assert children(world) == before


@pytest.mark.parametrize("name", ["kv-pepper", "kv-auth"])
def test_a_generated_secret_that_is_deleted_during_a_pause_comes_back_as_it_was_after_it(
    operator: Operator, world: World, name: str
) -> None:
    world.apply("kv")
    world.make_ready("kv")
    before = world.get("secrets", name)["data"]
    world.apply("kv", paused=True)
    assert pending(world) == "nothing."
    world.delete("secrets", name)
    eventually(lambda: f"repair Secret {name}" in pending(world), "the loss to be told", 10)
    world.apply("kv", paused=False)
    eventually(lambda: world.find("secrets", name), f"{name} again", 10)
    assert world.get("secrets", name)["data"] == before


def pods(world: World) -> int:
    return len(world.api.list("pods", world.namespace, "app.kubernetes.io/instance=kv"))


def test_a_suspended_resource_has_no_pod_and_its_data_until_it_is_resumed(
    operator: Operator, world: World
) -> None:
    world.apply("kv")
    world.make_ready("kv")
    before = children(world)
    world.apply("kv", suspended=True)
    world.wait_condition("kv", "Ready", "False", "Suspended")
    world.wait_condition("kv", "Suspended", "True", "Suspended")
    eventually(lambda: pods(world) == 0, "the pods to go", 20)
    assert world.get("deployments", "kv")["spec"]["replicas"] == 0
    kept = {name for name in before if name.startswith(("persistentvolumeclaims/", "secrets/"))}
    assert len(kept) == 4
    assert kept <= children(world).keys()
    world.apply("kv", suspended=False)
    world.make_ready("kv")
    assert "Suspended" not in world.conditions("kv")
    assert pods(world) == 1


def test_a_resource_that_is_born_suspended_is_complete_but_for_its_pods(
    operator: Operator, world: World
) -> None:
    world.apply("kv", suspended=True)
    world.wait_condition("kv", "Ready", "False")
    world.provide_volume("kv-data")
    world.wait_condition("kv", "StorageReady", "True")
    world.wait_condition("kv", "Ready", "False", "Suspended")
    assert world.get("deployments", "kv")["spec"]["replicas"] == 0
    assert world.find("services", "kv")
    world.apply("kv", suspended=False)
    world.make_ready("kv")


def test_pods_can_be_stopped_also_while_what_they_need_is_missing(operator: Operator, world: World) -> None:
    world.secret("database", uri="postgres://user:password@db:5432/kv")
    world.apply("kv", postgres())
    world.make_ready("kv")
    world.delete("secrets", "database")
    world.wait_condition("kv", "DatabaseReady", "False", "SecretMissing")
    world.apply("kv", suspended=True)
    world.wait_condition("kv", "Suspended", "True")
    assert world.get("deployments", "kv")["spec"]["replicas"] == 0
