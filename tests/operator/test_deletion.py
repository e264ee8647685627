"""A deletion never waits for the operator; the data outlives its resource unless that says otherwise."""

from functools import partial

import pytest

from tests.operator.conftest import Operator, World
from tests.support.api import Object
from tests.support.eventually import eventually

DATA = {"kv-data": "persistentvolumeclaims", "kv-auth": "secrets", "kv-pepper": "secrets"}
REST = {
    "deployments": "kv",
    "services": "kv",
    "ingresses": "kv",
    "networkpolicies": "kv",
    "secrets": "kv-binding",
}
COLLECTED = 90
"""Seconds within which the garbage collector, which looks for new kinds now and then, comes to work."""


def data(world: World) -> dict[str, Object]:
    """Returns what outlives a resource: uid and content, by name."""
    found = {name: world.get(plural, name) for name, plural in DATA.items()}
    return {
        name: {"uid": item["metadata"]["uid"], "data": item.get("data"), "volume": item.get("spec")}
        for name, item in found.items()
    }


def owners(world: World) -> list[str]:
    """Returns the uids of all owners of the data."""
    items = [world.get(plural, name) for name, plural in DATA.items()]
    return [owner["uid"] for item in items for owner in item["metadata"].get("ownerReferences", [])]


def kubectl_delete(world: World) -> None:
    """Deletes the resource as a user does, which returns once it is gone."""
    done = world.api.kubectl("delete", "dumbkv", "kv", "-n", world.namespace, "--timeout=10s")
    assert done.returncode == 0, done.stderr
    assert world.find("dumbkvs", "kv") is None


def await_end(world: World, plural: str, name: str) -> None:
    eventually(partial(is_gone, world, plural, name), f"{plural} {name} to go", COLLECTED)


def is_gone(world: World, plural: str, name: str) -> bool:
    return world.find(plural, name) is None


def await_collection(world: World) -> None:
    for plural, name in REST.items():
        await_end(world, plural, name)


@pytest.mark.parametrize("running", [True, False])
def test_a_deletion_ends_with_and_without_an_operator_and_keeps_the_data(
    operator: Operator, world: World, running: bool
) -> None:
    world.apply("kv")
    world.make_ready("kv")
    assert owners(world) == []
    before = data(world)
    if not running:
        operator.stop()
    kubectl_delete(world)
    await_collection(world)
    assert data(world) == before


def test_a_resource_made_again_adopts_its_data(operator: Operator, world: World) -> None:
    world.apply("kv")
    world.make_ready("kv")
    before, binding = data(world), world.get("secrets", "kv-binding")
    kubectl_delete(world)
    await_collection(world)
    world.apply("kv")
    world.make_ready("kv")
    assert data(world) == before
    again = world.get("secrets", "kv-binding")
    assert again["data"] == binding["data"]
    assert again["metadata"]["uid"] != binding["metadata"]["uid"]


def test_a_resource_made_again_at_once_adopts_its_data(operator: Operator, world: World) -> None:
    world.apply("kv")
    world.make_ready("kv")
    before = data(world)
    kubectl_delete(world)
    made = world.apply("kv")
    service = eventually(lambda: owned(world, "services", "kv", made), "a Service of its own", COLLECTED)
    assert service["metadata"].get("deletionTimestamp") is None
    world.make_ready("kv")
    assert data(world) == before


def owned(world: World, plural: str, name: str, resource: Object) -> Object | None:
    """Returns an object once `resource` owns it."""
    found = world.find(plural, name)
    references = found["metadata"].get("ownerReferences", []) if found else []
    return found if [each["uid"] for each in references] == [resource["metadata"]["uid"]] else None


def test_a_child_of_the_resource_before_is_waited_for(operator: Operator, world: World) -> None:
    world.apply("kv")
    world.make_ready("kv")
    world.patch("services", "kv", {"metadata": {"finalizers": ["example.com/hold"]}})
    before = world.get("services", "kv")["metadata"]["uid"]
    kubectl_delete(world)
    made = world.apply("kv")
    world.wait_condition("kv", "WorkloadReady", "False", "DeletionPending")
    assert world.get("services", "kv")["metadata"]["uid"] == before
    world.patch("services", "kv", {"metadata": {"finalizers": None}})
    eventually(lambda: owned(world, "services", "kv", made), "a Service of its own", COLLECTED)
    world.make_ready("kv")


def test_with_reclaim_policy_delete_the_data_goes_along(operator: Operator, world: World) -> None:
    made = world.apply("kv", {"storage": {"reclaimPolicy": "Delete"}})
    world.make_ready("kv")
    assert owners(world) == [made["metadata"]["uid"]] * len(DATA)
    before = data(world)
    kubectl_delete(world)
    for name, plural in DATA.items():
        await_end(world, plural, name)
    volume = f"{world.namespace}-kv-data"
    world.api.delete("persistentvolumes", volume)
    eventually(lambda: world.api.find("persistentvolumes", volume) is None, "the volume to go", 20)
    world.apply("kv", {"storage": {"reclaimPolicy": "Delete"}})
    world.make_ready("kv")
    after = data(world)
    assert after["kv-auth"]["data"] != before["kv-auth"]["data"]
    assert after["kv-pepper"]["data"] != before["kv-pepper"]["data"]


def test_a_changed_reclaim_policy_reaches_the_data_that_is_there(operator: Operator, world: World) -> None:
    made = world.apply("kv")
    world.make_ready("kv")
    world.apply("kv", storage={"reclaimPolicy": "Delete"})
    uid = made["metadata"]["uid"]
    eventually(lambda: owners(world) == [uid] * len(DATA), "the data to be owned", 10)
    world.apply("kv", storage={"reclaimPolicy": "Retain"})
    eventually(lambda: owners(world) == [], "the data to be free", 10)
    before = data(world)
    kubectl_delete(world)
    await_collection(world)
    assert data(world) == before
