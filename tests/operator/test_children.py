"""From a resource to its children, and back to them whatever happens."""

from base64 import b64decode
from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.operator.conftest import Operator, World, settled
from tests.support.api import Object
from tests.support.eventually import eventually

CHILDREN = {
    "deployments": "kv",
    "services": "kv",
    "persistentvolumeclaims": "kv-data",
    "ingresses": "kv",
    "networkpolicies": "kv",
    "secrets": "kv-binding",
}


def value(secret: Object, key: str) -> str:
    return b64decode(secret["data"][key]).decode()


def test_an_empty_spec_becomes_a_complete_instance(operator: Operator, world: World) -> None:
    world.apply("kv")
    world.make_ready("kv")
    for plural, name in CHILDREN.items():
        assert world.find(plural, name), plural
    assert value(world.get("secrets", "kv-auth"), "token").startswith("dkv_")
    assert value(world.get("secrets", "kv-binding"), "token") == value(
        world.get("secrets", "kv-auth"), "token"
    )
    status = world.get("dumbkvs", "kv")["status"]
    assert status["url"] == f"https://kv.{world.namespace}.example.com"
    assert status["binding"] == {"name": "kv-binding"}
    assert status["image"] == "ghcr.io/dumbkv/dumbkv-server:0.1.0"
    assert status["storage"] == "1Gi"
    expected = {"Ready", "StorageReady", "DatabaseReady", "WorkloadReady", "Exposed", "Monitored"}
    assert {condition["type"] for condition in status["conditions"]} == expected


def test_the_operator_leaves_no_mark_on_the_resource(operator: Operator, world: World) -> None:
    world.apply("kv")
    world.make_ready("kv")
    metadata = world.get("dumbkvs", "kv")["metadata"]
    assert "finalizers" not in metadata
    assert "annotations" not in metadata


def test_an_edit_is_followed(operator: Operator, world: World) -> None:
    world.apply("kv")
    world.make_ready("kv")
    world.apply("kv", image="example.com/other:1", podLabels={"team": "blue"})
    world.make_ready("kv")
    template = world.get("deployments", "kv")["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "example.com/other:1"
    assert template["metadata"]["labels"]["team"] == "blue"
    world.apply("kv", podLabels=None)
    world.make_ready("kv")
    assert "team" not in world.get("deployments", "kv")["spec"]["template"]["metadata"]["labels"]
    assert "DriftCorrected" not in world.conditions("kv")


def test_ready_is_never_that_of_an_older_generation(operator: Operator, world: World) -> None:
    world.apply("kv")
    world.make_ready("kv")
    world.apply("kv", image="example.com/other:2")
    condition = world.wait_condition("kv", "Ready", "False", "RollingOut")
    assert condition["observedGeneration"] == 2


def test_a_steady_state_costs_no_request(operator: Operator, world: World) -> None:
    world.apply("kv")
    world.make_ready("kv")
    eventually(lambda: settled(operator), "the operator to come to rest", 20)
    visits = operator.metric("dumbkv_operator_reconcile_total")
    versions, requests = world.versions("kv"), operator.requests()
    # A visit without cause: somebody touches a child where nothing of ours is.
    world.patch("services", "kv", {"metadata": {"annotations": {"example.com/theirs": "1"}}})
    eventually(lambda: operator.metric("dumbkv_operator_reconcile_total") > visits, "the visit", 5)
    assert operator.requests() == requests
    del versions["services/kv"]
    assert versions.items() <= world.versions("kv").items()


EDITS: dict[str, tuple[Object, str]] = {
    "deployments": (
        {"spec": {"replicas": 3, "template": {"spec": {"nodeSelector": {"a": "b"}}}}},
        "spec.replicas",
    ),
    "services": ({"spec": {"selector": {"theirs": "1"}}}, "spec.selector.theirs"),
    "persistentvolumeclaims": (
        {"metadata": {"labels": {"app.kubernetes.io/component": "x"}}},
        "metadata.labels[app.kubernetes.io/component]",
    ),
    "ingresses": ({"spec": {"tls": []}}, "spec.tls"),
    "networkpolicies": ({"spec": {"policyTypes": ["Ingress"]}}, "spec.policyTypes"),
    "secrets": ({"data": {"host": "eA=="}}, "data.host"),
}


@pytest.mark.parametrize("plural", EDITS)
def test_an_edited_child_is_repaired_and_told(operator: Operator, world: World, plural: str) -> None:
    world.apply("kv")
    world.make_ready("kv")
    name, (edit, field) = CHILDREN[plural], EDITS[plural]
    before = world.get(plural, name)
    counted = operator.metric("dumbkv_operator_drift_corrected_total", kind=before["kind"])
    edited = world.patch(plural, name, edit)
    assert edited["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
    told = world.wait_condition("kv", "DriftCorrected", "True", "Repaired")
    assert f"{before['kind']} {name}" in told["message"]
    assert field in told["message"]
    repaired = world.get(plural, name)
    for part in ("spec", "data"):
        if part in before and plural != "deployments":
            assert repaired[part] == before[part]
    assert repaired["metadata"]["labels"] == before["metadata"]["labels"]
    assert operator.metric("dumbkv_operator_drift_corrected_total", kind=before["kind"]) == counted + 1
    events = [
        event["note"]
        for event in world.api.list("events", world.namespace)
        if event["reason"] == "DriftCorrected"
    ]
    assert any(field in note for note in events)


def other_strategy(spec: Object) -> None:
    spec["strategy"] = {"type": "RollingUpdate"}


def other_volume(spec: Object) -> None:
    for volume in spec["template"]["spec"]["volumes"]:
        if volume["name"] == "data":
            del volume["persistentVolumeClaim"]
            volume["emptyDir"] = {}


def other_port(spec: Object) -> None:
    spec["ports"][0]["port"] = 81


EXCLUDING = (("deployments", other_strategy), ("deployments", other_volume), ("services", other_port))
"""Edits that an apply alone cannot undo: with both, theirs and ours, the object would not be valid."""


@pytest.mark.parametrize(("plural", "edit"), EXCLUDING)
def test_an_edit_that_excludes_ours_is_undone(
    operator: Operator, world: World, plural: str, edit: Callable[[Object], None]
) -> None:
    world.apply("kv")
    world.make_ready("kv")
    wanted = world.get(plural, "kv")["spec"]
    edited = deepcopy(wanted)
    edit(edited)
    world.patch(plural, "kv", {"spec": edited})
    world.wait_condition("kv", "DriftCorrected", "True", "Repaired")
    assert world.get(plural, "kv")["spec"] == wanted
    world.make_ready("kv")


def test_a_port_that_others_add_beside_ours_stays(operator: Operator, world: World) -> None:
    world.apply("kv")
    world.make_ready("kv")
    ports = world.get("services", "kv")["spec"]["ports"]
    theirs = {"name": "theirs", "port": 81, "protocol": "TCP", "targetPort": 81}
    world.patch("services", "kv", {"spec": {"ports": [*ports, theirs]}})
    world.apply("kv", podLabels={"team": "blue"})
    world.make_ready("kv")
    assert theirs in world.get("services", "kv")["spec"]["ports"]
    assert "DriftCorrected" not in world.conditions("kv")


@pytest.mark.parametrize("plural", [plural for plural in CHILDREN if plural != "persistentvolumeclaims"])
def test_a_deleted_child_is_made_again_and_told(operator: Operator, world: World, plural: str) -> None:
    world.apply("kv")
    world.make_ready("kv")
    name = CHILDREN[plural]
    before = world.get(plural, name)
    world.delete(plural, name)
    told = world.wait_condition("kv", "DriftCorrected", "True", "Repaired")
    assert told["message"] == f"{before['kind']} {name}: made again"
    assert world.get(plural, name)["metadata"]["uid"] != before["metadata"]["uid"]


@pytest.mark.parametrize("name", ["kv-pepper", "kv-auth"])
def test_a_deleted_generated_secret_comes_back_as_it_was(operator: Operator, world: World, name: str) -> None:
    world.apply("kv")
    world.make_ready("kv")
    before = world.get("secrets", name)
    world.delete("secrets", name)
    eventually(lambda: world.find("secrets", name), f"{name} again", 10)
    assert world.get("secrets", name)["data"] == before["data"]


def test_all_generated_secrets_deleted_at_once_come_back_as_they_were(
    operator: Operator, world: World
) -> None:
    world.apply("kv")
    world.make_ready("kv")
    before = {name: world.get("secrets", name)["data"] for name in ("kv-auth", "kv-pepper", "kv-binding")}
    for name in before:
        world.delete("secrets", name)

    def back() -> bool:
        found = {name: world.find("secrets", name) for name in before}
        return {name: secret and secret["data"] for name, secret in found.items()} == before

    eventually(back, "the Secrets as they were", 10)
    world.make_ready("kv")


def test_what_others_add_beside_ours_stays(operator: Operator, world: World) -> None:
    world.apply("kv")
    world.make_ready("kv")
    world.patch("services", "kv", {"metadata": {"annotations": {"example.com/theirs": "1"}}})
    world.apply("kv", podLabels={"team": "blue"})
    world.make_ready("kv")
    assert world.get("services", "kv")["metadata"]["annotations"]["example.com/theirs"] == "1"


def test_own_values_in_generated_secrets_are_kept(operator: Operator, world: World) -> None:
    world.apply("kv")
    world.make_ready("kv")
    own = "b25lIGFkbWluIHNoYTI1NjphYQo="
    world.patch("secrets", "kv-auth", {"data": {"tokens": own}})
    world.apply("kv", podLabels={"team": "blue"})
    world.make_ready("kv")
    assert world.get("secrets", "kv-auth")["data"]["tokens"] == own


def test_a_child_that_is_not_wanted_any_more_goes(operator: Operator, world: World) -> None:
    world.apply("kv")
    world.make_ready("kv")
    world.apply("kv", networkPolicy={"enabled": False}, ingress={"enabled": False})
    world.wait_condition("kv", "Exposed", "False", "Disabled")
    assert world.find("ingresses", "kv") is None
    assert world.find("networkpolicies", "kv") is None
    assert world.get("dumbkvs", "kv")["status"]["url"] == f"http://kv.{world.namespace}.svc"
