"""A resource that breaks a rule which was not there yet when its API server took it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.operator.conftest import Operator, World
from tests.support.api import Object
from tests.support.eventually import eventually

CRD = "dumbkvs.dumbkv.example.com"
BROKEN = {"replicas": 2}
PARTS = ("StorageReady", "DatabaseReady", "WorkloadReady", "Exposed", "Monitored")


@contextmanager
def older_definition(world: World) -> Iterator[None]:
    """Takes the rules between fields out of the definition for as long as the block runs."""
    versions = world.api.get("customresourcedefinitions", CRD)["spec"]["versions"]
    older = copy.deepcopy(versions)
    del older[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"]
    world.api.patch("customresourcedefinitions", CRD, None, {"spec": {"versions": older}})
    try:
        eventually(lambda: admits(world), "the older definition to count", 20)
        yield
    finally:
        world.api.patch("customresourcedefinitions", CRD, None, {"spec": {"versions": versions}})
        eventually(lambda: not admits(world), "the rules to count again", 20)


def admits(world: World) -> bool:
    """Returns whether the API server takes a resource that breaks a rule."""
    manifest = f"""
apiVersion: dumbkv.example.com/v1alpha1
kind: DumbKV
metadata: {{name: trial, namespace: {world.namespace}}}
spec: {{replicas: {BROKEN["replicas"]}}}
"""
    return world.api.kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest).returncode == 0


def conditions(world: World) -> dict[str, Object]:
    world.wait_condition("kv", "Ready", "False", "InvalidSpec")
    return world.conditions("kv")


def test_a_resource_that_breaks_a_rule_is_told_so_and_heals_when_it_is_mended(
    operator: Operator, world: World
) -> None:
    with older_definition(world):
        world.apply("kv", BROKEN)
    told = conditions(world)
    assert "spec.replicas: more than 1 needs backend postgres" in told["Ready"]["message"]
    assert "Nothing is changed until this is mended" in told["Ready"]["message"]
    assert {(name, told[name]["status"]) for name in PARTS} == {(name, "Unknown") for name in PARTS}
    assert world.find("deployments", "kv") is None
    with pytest.raises(AssertionError, match="more than 1 replica needs backend postgres"):
        world.apply("kv", replicas=3)
    world.apply("kv", replicas=1)
    world.make_ready("kv")


def test_the_children_of_a_resource_that_becomes_invalid_stay_as_they_are(
    operator: Operator, world: World
) -> None:
    world.apply("kv")
    world.make_ready("kv")
    with older_definition(world):
        world.apply("kv", {**BROKEN, "image": "example.com/other:1"})
        conditions(world)
        deployment = world.get("deployments", "kv")
        assert deployment["spec"]["replicas"] == 1
        assert deployment["metadata"]["generation"] == 1
    world.apply("kv", replicas=1)
    world.make_ready("kv")
    assert world.get("deployments", "kv")["metadata"]["generation"] == 2
