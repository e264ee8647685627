"""One operator leads and writes, whatever becomes of the others and of itself."""

import hashlib
import signal
from base64 import b64decode
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.operator.conftest import Operator, World, settled
from tests.support.api import Object
from tests.support.eventually import eventually

Team = Callable[..., Operator]


@pytest.fixture
def team(_first: Operator, operate: Callable[..., Operator]) -> Iterator[Team]:
    """Starts operators of the test's own while the shared one stands aside; they end with the test."""
    if _first.running:
        _first.stop()
    members: list[Operator] = []

    def join(identity: str, **settings: str) -> Operator:
        members.append(operate(identity, **settings))
        members[-1].start()
        return members[-1]

    yield join
    for member in members:
        if member.running:
            member.thaw()
            member.stop()


def leads(operator: Operator) -> None:
    eventually(lambda: operator.leading, f"{operator.identity} to lead", 20)


def lease(world: World) -> Object:
    spec: Object = world.api.get("leases", "dumbkv-operator", "dumbkv-system")["spec"]
    return spec


def is_served(world: World, name: str) -> None:
    """Makes a resource, and returns once somebody has done all that an operator can do for it."""
    world.apply(name)
    world.make_ready(name)


def has_looked_at(operator: Operator, world: World, name: str) -> bool:
    labels = {"namespace": world.namespace, "name": name, "type": "Ready", "status": "True"}
    return operator.metric("dumbkv_operator_resource_condition", **labels) == 1


def test_a_restarted_operator_writes_nothing_to_what_is_as_it_should_be(
    operator: Operator, world: World
) -> None:
    names = ("one", "two", "three")
    for name in names:
        is_served(world, name)
    eventually(lambda: settled(operator), "the operator to come to rest", 20)
    before = {name: world.versions(name) for name in names}
    operator.stop()
    operator.start()
    leads(operator)
    for name in names:
        eventually(partial(has_looked_at, operator, world, name), f"the visit of {name}", 20)
    # A visit that comes after all of the first ones.
    visits = operator.metric("dumbkv_operator_reconcile_total")
    world.patch("services", "one", {"metadata": {"annotations": {"example.com/theirs": "1"}}})
    eventually(lambda: operator.metric("dumbkv_operator_reconcile_total") > visits, "one more visit", 10)
    assert operator.writes() == 0
    del before["one"]["services/one"]
    for name in names:
        assert before[name].items() <= world.versions(name).items()


def test_a_standby_writes_nothing_and_takes_over_when_the_leader_is_killed(world: World, team: Team) -> None:
    leader = team("leader")
    leads(leader)
    standby = team("standby")
    is_served(world, "one")
    waiting = "dumbkv_operator_queue_length"
    eventually(lambda: standby.metric(waiting) > 0, "the standby to know of the resource", 10)
    world.delete("services", "one")
    eventually(lambda: world.find("services", "one"), "the repair", 10)
    assert not standby.leading
    assert standby.writes() == 0
    assert leader.writes() > 0
    leader.stop(signal.SIGKILL)
    assert lease(world)["holderIdentity"] == "leader"
    leads(standby)
    assert lease(world)["holderIdentity"] == "standby"
    is_served(world, "two")
    assert standby.writes() > 0


def test_a_leader_that_is_told_to_stop_hands_over_without_waiting_for_its_lease_to_end(
    world: World, team: Team
) -> None:
    leader = team("leader", DUMBKV_OPERATOR_LEASE_DURATION_SECONDS="600")
    leads(leader)
    standby = team("standby")
    assert lease(world)["leaseDurationSeconds"] == 600
    assert leader.stop() == 0
    leads(standby)
    is_served(world, "one")


def test_a_leader_whose_lease_is_taken_from_it_stops_until_it_has_it_again(world: World, team: Team) -> None:
    leader = team("leader")
    leads(leader)
    renewed = "2020-01-01T00:00:00.000000Z"
    world.api.patch(
        "leases",
        "dumbkv-operator",
        "dumbkv-system",
        {"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 4, "renewTime": renewed}},
    )
    eventually(lambda: not leader.leading, "the leader to give up", 10)
    leads(leader)
    is_served(world, "one")


CHILDREN = {
    "deployments": [""],
    "services": [""],
    "ingresses": [""],
    "networkpolicies": [""],
    "persistentvolumeclaims": ["-data"],
    "secrets": ["-auth", "-binding", "-pepper"],
}


def test_an_operator_that_is_killed_in_the_midst_of_its_work_completes_it_when_it_is_back(
    operator: Operator, world: World
) -> None:
    operator.stop()
    names = [f"kv-{number:02}" for number in range(20)]
    for name in names:
        world.apply(name)
    peppers: dict[str, Object] = {}
    for enough in (1, 4, 8):
        operator.start()
        eventually(partial(has_deployments, world, enough), f"{enough} Deployments", 20)
        operator.stop(signal.SIGKILL)
        present = found(world, "secrets")
        for name, secret in peppers.items():
            assert present[name]["data"] == secret["data"]
        peppers = {name: secret for name, secret in present.items() if name.endswith("-pepper")}
    assert len(found(world, "deployments")) < len(names)
    operator.start()
    for name in names:
        world.wait_condition(name, "WorkloadReady", "False", "RollingOut")
    for plural, suffixes in CHILDREN.items():
        assert sorted(found(world, plural)) == sorted(name + suffix for name in names for suffix in suffixes)
    secrets = {name: secret["data"] for name, secret in found(world, "secrets").items()}
    for name in peppers:
        assert secrets[name] == peppers[name]["data"]
    for name in names:
        token = b64decode(secrets[f"{name}-auth"]["token"])
        assert b64decode(secrets[f"{name}-binding"]["token"]) == token
        assert hashlib.sha256(token).hexdigest() in b64decode(secrets[f"{name}-auth"]["tokens"]).decode()


def has_deployments(world: World, enough: int) -> bool:
    return len(found(world, "deployments")) >= enough


def found(world: World, plural: str) -> dict[str, Object]:
    """Returns all objects of a kind in the namespace by name."""
    return {item["metadata"]["name"]: item for item in world.api.list(plural, world.namespace)}


def images(world: World) -> set[str]:
    pods = [item["spec"]["template"]["spec"] for item in found(world, "deployments").values()]
    return {pod["containers"][0]["image"] for pod in pods}


def test_a_leader_that_was_frozen_at_work_writes_nothing_after_another_took_over(
    world: World, team: Team
) -> None:
    names = [f"kv-{number:02}" for number in range(20)]
    for name in names:
        world.apply(name)
    # Of two operators with different server images, the one that writes can be told by what it leaves.
    frozen = team("frozen", DUMBKV_OPERATOR_SERVER_IMAGE="example.com/frozen:1")
    eventually(partial(has_deployments, world, 3), "some Deployments", 20)
    frozen.freeze()
    assert not has_deployments(world, len(names))
    standby = team("standby", DUMBKV_OPERATOR_SERVER_IMAGE="example.com/standby:1")
    leads(standby)
    for name in names:
        world.wait_condition(name, "WorkloadReady", "False", "RollingOut")
    eventually(lambda: images(world) == {"example.com/standby:1"}, "the other one's images", 20)
    eventually(lambda: settled(standby), "the other one to come to rest", 20)
    before = {name: world.versions(name) for name in names}
    frozen.thaw()
    eventually(lambda: not frozen.leading, "the frozen one to see that it leads no more", 10)
    is_served(world, "witness")
    assert {name: world.versions(name) for name in names} == before
    assert standby.leading
