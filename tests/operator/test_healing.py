"""What cannot be done is told, and is done by itself as soon as its cause is gone."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.operator.conftest import Operator, World
from tests.support.api import Object
from tests.support.eventually import eventually
from tests.support.resources import postgres

Definition = Callable[[str, str, str, str], Object]
SECRETS: dict[str, tuple[Object, str, dict[str, str]]] = {
    "database": (postgres(), "DatabaseReady", {"uri": "postgres://user:password@db:5432/kv"}),
    "tokens": (
        {"auth": {"secretRef": {"name": "tokens"}}},
        "WorkloadReady",
        {"tokens": f"mine admin sha256:{'ab' * 32}\n"},
    ),
}
"""By the name of a user's Secret: a specification that names it, the condition for it, and what it holds."""


@pytest.mark.parametrize("name", SECRETS)
def test_a_missing_secret_is_named_and_its_arrival_starts_the_server(
    operator: Operator, world: World, name: str
) -> None:
    spec, condition, values = SECRETS[name]
    world.apply("kv", spec)
    told = world.wait_condition("kv", condition, "False", "SecretMissing")
    assert f"Secret {name} with the key {next(iter(values))}" in told["message"]
    eventually(lambda: world.find("services", "kv"), "the other children", 10)
    assert world.find("deployments", "kv") is None
    world.secret(name, **values)
    world.make_ready("kv")


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_without_its_key_is_told_and_the_key_starts_the_server(
    operator: Operator, world: World, name: str
) -> None:
    spec, condition, values = SECRETS[name]
    world.secret(name, unrelated="1")
    world.apply("kv", spec)
    told = world.wait_condition("kv", condition, "False", "SecretKeyMissing")
    assert f"Secret {name} with the key {next(iter(values))}" in told["message"]
    assert world.find("deployments", "kv") is None
    world.patch("secrets", name, {"stringData": values})
    world.make_ready("kv")


@pytest.mark.parametrize("name", SECRETS)
def test_a_serving_deployment_stays_as_it_is_while_its_secret_is_gone(
    operator: Operator, world: World, name: str
) -> None:
    spec, condition, values = SECRETS[name]
    world.secret(name, **values)
    world.apply("kv", spec)
    world.make_ready("kv")
    before = world.get("deployments", "kv")["metadata"]
    world.delete("secrets", name)
    world.wait_condition("kv", condition, "False", "SecretMissing")
    world.apply("kv", podLabels={"team": "blue"})
    world.wait_condition("kv", condition, "False", "SecretMissing")
    after = world.get("deployments", "kv")["metadata"]
    assert (after["uid"], after["generation"]) == (before["uid"], before["generation"])
    world.secret(name, **values)
    world.make_ready("kv")
    assert world.get("deployments", "kv")["metadata"]["generation"] > before["generation"]


KINDS: dict[str, tuple[tuple[str, str, str, str], Object, str, str]] = {
    "ServiceMonitor": (
        ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
        {},
        "Monitored",
        "MonitorCreated",
    ),
    "HTTPRoute": (
        ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
        {"gateway": {"parentRef": {"name": "edge"}}},
        "Exposed",
        "RoutePending",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_arrives_is_used_and_one_that_goes_is_told(
    operator: Operator, world: World, crd: Definition, kind: str
) -> None:
    names, spec, condition, reason = KINDS[kind]
    group, _, _, plural = names
    world.apply("kv", spec)
    world.make_ready("kv")  # Without the kind everything else serves.
    told = world.wait_condition("kv", condition, "False", "KindMissing")
    assert f"The cluster has no {kind} ({group}/v1): install" in told["message"]
    world.api.create("customresourcedefinitions", crd(*names))
    try:
        eventually(lambda: world.conditions("kv")[condition]["reason"] == reason, f"{condition} to heal", 30)
        assert world.get(plural, "kv")["metadata"]["ownerReferences"][0]["name"] == "kv"
    finally:
        world.api.delete("customresourcedefinitions", f"{plural}.{group}")
    world.wait_condition("kv", condition, "False", "KindMissing")


def storage_class(world: World, **fields: Any) -> str:
    """Makes a StorageClass that no provisioner serves, named as the namespace, and returns its name."""
    metadata = {"name": world.namespace}
    provisioner = "kubernetes.io/no-provisioner"
    world.api.create("storageclasses", {"metadata": metadata, "provisioner": provisioner, **fields})
    return world.namespace


def test_a_missing_storage_class_is_told_until_it_is_there(operator: Operator, world: World) -> None:
    world.apply("kv", {"storage": {"storageClassName": world.namespace}})
    told = world.wait_condition("kv", "StorageReady", "False", "StorageClassMissing")
    assert f"There is no StorageClass {world.namespace}: create it" in told["message"]
    name = storage_class(world)
    try:
        world.wait_condition("kv", "StorageReady", "False", "ClaimPending")
        world.make_ready("kv")
    finally:
        world.api.delete("storageclasses", name)


def requested(world: World) -> str:
    """Returns the size that the claim asks for."""
    size: str = world.get("persistentvolumeclaims", "kv-data")["spec"]["resources"]["requests"]["storage"]
    return size


def test_a_greater_size_is_asked_of_an_expandable_class(operator: Operator, world: World) -> None:
    world.apply("kv", {"storage": {"storageClassName": "efs"}})
    world.make_ready("kv")
    world.apply("kv", storage={"size": "2Gi"})
    world.wait_condition("kv", "StorageReady", "False", "Resizing")
    assert requested(world) == "2Gi"
    enlarged = {"status": {"capacity": {"storage": "2Gi"}}}
    world.patch("persistentvolumeclaims", "kv-data", enlarged, "status")
    world.wait_condition("kv", "Ready", "True")
    assert world.get("dumbkvs", "kv")["status"]["storage"] == "2Gi"


def test_a_greater_size_of_a_fixed_class_is_told_until_it_is_set_back(
    operator: Operator, world: World
) -> None:
    world.apply("kv", {"storage": {"storageClassName": "fixed"}})
    world.make_ready("kv")
    world.apply("kv", storage={"size": "2Gi"})
    told = world.wait_condition("kv", "StorageReady", "False", "ExpansionUnsupported")
    assert "set spec.storage.size back" in told["message"]
    assert requested(world) == "1Gi"
    with pytest.raises(AssertionError, match="size cannot shrink"):
        world.apply("kv", storage={"size": "1023Mi"})
    world.apply("kv", storage={"size": "1Gi"})
    world.wait_condition("kv", "Ready", "True")
    assert requested(world) == "1Gi"


def test_a_class_that_learns_to_expand_heals_what_waited_for_it(operator: Operator, world: World) -> None:
    name = storage_class(world)
    try:
        world.apply("kv", {"storage": {"storageClassName": name}})
        world.make_ready("kv")
        world.apply("kv", storage={"size": "2Gi"})
        world.wait_condition("kv", "StorageReady", "False", "ExpansionUnsupported")
        world.api.patch("storageclasses", name, None, {"allowVolumeExpansion": True})
        world.wait_condition("kv", "StorageReady", "False", "Resizing")
        assert requested(world) == "2Gi"
    finally:
        world.api.delete("storageclasses", name)


def test_peppers_lost_while_the_operator_was_down_stop_every_change_until_they_are_back(
    operator: Operator, world: World
) -> None:
    world.apply("kv")
    world.make_ready("kv")
    lost = world.get("secrets", "kv-pepper")
    before = world.get("deployments", "kv")["metadata"]
    operator.stop()
    world.delete("secrets", "kv-pepper")
    operator.start()
    told = world.wait_condition("kv", "Ready", "False", "PepperMissing")
    assert "The Secret kv-pepper (key peppers) is gone" in told["message"]
    label = "dumbkv.example.com/owner-name"
    assert f"with the label {label}=kv" in told["message"]
    world.apply("kv", podLabels={"team": "blue"})
    world.wait_condition("kv", "DatabaseReady", "False", "PepperMissing")
    assert world.find("secrets", "kv-pepper") is None
    after = world.get("deployments", "kv")["metadata"]
    assert (after["uid"], after["generation"]) == (before["uid"], before["generation"])
    metadata = {"name": "kv-pepper", "namespace": world.namespace, "labels": {label: "kv"}}
    world.api.create("secrets", {"metadata": metadata, "data": lost["data"]})
    world.make_ready("kv")
    assert world.get("secrets", "kv-pepper")["data"] == lost["data"]


def test_refused_peppers_leave_nothing_behind_that_looks_like_data(operator: Operator, world: World) -> None:
    quota = ("quota", "none", "-n", world.namespace)
    assert world.api.kubectl("create", *quota, "--hard=secrets=0").returncode == 0
    enforced = ("get", *quota, "-o", "jsonpath={.status.hard.secrets}")
    eventually(lambda: world.api.kubectl(*enforced).stdout == "0", "the quota to be enforced", 20)
    world.apply("kv")
    told = world.wait_condition("kv", "DatabaseReady", "False", "ApplyFailed")
    assert "exceeded quota" in told["message"]
    assert world.find("persistentvolumeclaims", "kv-data") is None
    assert world.api.kubectl("delete", *quota).returncode == 0
    world.make_ready("kv")
