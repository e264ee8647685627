"""What only one can have: a name that somebody else's object has, a host, a database."""

import re
from base64 import b64decode
from datetime import UTC, datetime

import pytest

from tests.operator.conftest import Operator, World
from tests.support.api import Object
from tests.support.eventually import eventually
from tests.support.resources import postgres

POD: Object = {
    "metadata": {"labels": {"app": "theirs"}},
    "spec": {"containers": [{"name": "theirs", "image": "example.com/theirs:1"}]},
}
BACKEND = {"service": {"name": "theirs", "port": {"number": 80}}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
FOREIGN: dict[str, tuple[str, str, Object, str]] = {
    "Deployment": (
        "deployments",
        "kv",
        {
            "apiVersion": "apps/v1",
            "spec": {"selector": {"matchLabels": {"app": "theirs"}}, "template": POD},
        },
        "WorkloadReady",
    ),
    "Service": (
        "services",
        "kv",
        {"apiVersion": "v1", "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]}},
        "WorkloadReady",
    ),
    "Ingress": (
        "ingresses",
        "kv",
        {"apiVersion": "networking.k8s.io/v1", "spec": {"defaultBackend": BACKEND}},
        "Exposed",
    ),
    "PersistentVolumeClaim": (
        "persistentvolumeclaims",
        "kv-data",
        {"apiVersion": "v1", "spec": {**CLAIM, "storageClassName": "efs"}},
        "StorageReady",
    ),
    "Secret": ("secrets", "kv-pepper", {"apiVersion": "v1", "stringData": {"theirs": "1"}}, "DatabaseReady"),
}
"""By kind: somebody's object with a child's name, and the condition that is to speak of it."""


def make(world: World, plural: str, name: str, manifest: Object, **metadata: object) -> Object:
    identity = {"name": name, "namespace": world.namespace, **metadata}
    return world.api.create(plural, {**manifest, "metadata": identity})


def writers(item: Object) -> set[str]:
    return {entry["manager"] for entry in item["metadata"]["managedFields"]}


def made_anew(world: World, plural: str, before: Object) -> bool:
    """Returns whether the operator has made an object in the place of another one."""
    now = world.find(plural, before["metadata"]["name"])
    return now is not None and now["metadata"]["uid"] != before["metadata"]["uid"]


def younger(world: World, name: str, than: Object, spec: Object) -> Object:
    """Makes a resource that is younger than another one, whose time of creation is in whole seconds."""
    created = than["metadata"]["creationTimestamp"]
    eventually(lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") > created, "the next second", 5)
    return world.apply(name, spec)


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_object_is_never_taken_over_and_its_deletion_heals(
    operator: Operator, world: World, kind: str
) -> None:
    plural, name, manifest, condition = FOREIGN[kind]
    foreign = make(world, plural, name, manifest)
    world.apply("kv")
    told = world.wait_condition("kv", condition, "False", "ForeignOwner")
    assert f"{kind} {name}" in told["message"]
    assert "delete or rename it" in told["message"]
    eventually(lambda: world.find("networkpolicies", "kv"), "the other children", 10)
    kept = world.get(plural, name)
    assert kept["metadata"]["uid"] == foreign["metadata"]["uid"]
    assert "dumbkv-operator" not in writers(kept)
    world.delete(plural, name)
    eventually(lambda: made_anew(world, plural, foreign), f"{kind} {name} of the resource's own", 10)
    world.make_ready("kv")
    eventually(lambda: world.conditions("kv")[condition]["reason"] != "ForeignOwner", "the healing", 10)


def test_an_object_of_another_owner_is_left_alone_whatever_its_labels_say(
    operator: Operator, world: World
) -> None:
    owner = make(world, "configmaps", "theirs", {"apiVersion": "v1", "kind": "ConfigMap"})
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "theirs",
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    labels = {
        "app.kubernetes.io/instance": "kv",
        "app.kubernetes.io/managed-by": "dumbkv-operator",
        "dumbkv.example.com/owner-name": "kv",
    }
    make(world, "services", "kv", FOREIGN["Service"][2], labels=labels, ownerReferences=[reference])
    world.apply("kv")
    told = world.wait_condition("kv", "WorkloadReady", "False", "ForeignOwner")
    assert told["message"] == (
        "Service kv belongs to ConfigMap theirs: rename this resource, or remove that one."
    )
    assert "dumbkv-operator" not in writers(world.get("services", "kv"))


def test_a_suspended_resource_does_not_stop_the_pods_of_a_foreign_deployment(
    operator: Operator, world: World
) -> None:
    make(world, *FOREIGN["Deployment"][:3])
    world.apply("kv", suspended=True)
    world.wait_condition("kv", "WorkloadReady", "False", "ForeignOwner")
    kept = world.get("deployments", "kv")
    assert kept["spec"]["replicas"] == 1
    assert "dumbkv-operator" not in writers(kept)


def test_a_foreign_binding_is_not_given_to_applications(operator: Operator, world: World) -> None:
    world.secret("kv-binding", uri="http://theirs")
    world.apply("kv")
    world.wait_condition("kv", "WorkloadReady", "False", "ForeignOwner")
    assert "binding" not in world.get("dumbkvs", "kv")["status"]
    world.delete("secrets", "kv-binding")
    world.make_ready("kv")
    assert world.get("dumbkvs", "kv")["status"]["binding"] == {"name": "kv-binding"}


@pytest.mark.parametrize("name", ["kv-auth", "kv-pepper"])
def test_a_secret_that_is_labelled_as_the_message_says_is_adopted_with_what_it_holds(
    operator: Operator, world: World, name: str
) -> None:
    pepper = f"1 {'ab' * 32}\n"
    values = {"kv-auth": {"token": "dkv_mine"}, "kv-pepper": {"peppers": pepper}}[name]
    made = world.secret(name, **values)
    world.apply("kv")
    told = world.wait_condition("kv", "DatabaseReady" if name == "kv-pepper" else "WorkloadReady", "False")
    assert world.find("deployments", "kv") is None
    label = re.search(r"label it (\S+)=(\S+)\.$", told["message"])
    assert label, told["message"]
    world.patch("secrets", name, {"metadata": {"labels": {label[1]: label[2]}}})
    world.make_ready("kv")
    adopted = world.get("secrets", name)
    assert adopted["metadata"]["uid"] == made["metadata"]["uid"]
    assert made["data"].items() <= adopted["data"].items()
    if name == "kv-auth":
        assert b64decode(world.get("secrets", "kv-binding")["data"]["token"]) == b"dkv_mine"


def test_an_adopted_claim_keeps_its_volume(operator: Operator, world: World) -> None:
    labels = {"dumbkv.example.com/owner-name": "kv"}
    world.secret("kv-pepper", peppers=f"1 {'ab' * 32}\n")
    world.patch("secrets", "kv-pepper", {"metadata": {"labels": labels}})
    claim = {**CLAIM, "storageClassName": "fixed", "resources": {"requests": {"storage": "3Gi"}}}
    made = make(world, "persistentvolumeclaims", "kv-data", {"spec": claim}, labels=labels)
    world.provide_volume("kv-data")
    world.apply("kv")
    world.make_ready("kv")
    adopted = world.get("persistentvolumeclaims", "kv-data")
    assert adopted["metadata"]["uid"] == made["metadata"]["uid"]
    assert adopted["spec"]["volumeName"] == f"{world.namespace}-kv-data"
    assert world.get("dumbkvs", "kv")["status"]["storage"] == "3Gi"


def exposed(host: str) -> Object:
    return {"ingress": {"host": host}}


@pytest.mark.parametrize("event", ["moves", "goes"])
def test_the_younger_of_two_with_one_host_lacks_only_that_until_the_older_one(
    operator: Operator, world: World, other_world: World, event: str
) -> None:
    host = f"{world.namespace}.example.com"
    older = other_world.apply("zeta", exposed(host))
    younger(world, "alpha", older, exposed(host))
    told = world.wait_condition("alpha", "Exposed", "False", "HostTaken")
    assert f"DumbKV {other_world.namespace}/zeta has the host {host}" in told["message"]
    assert "set another spec.ingress.host" in told["message"]
    world.make_ready("alpha")
    assert world.find("ingresses", "alpha") is None
    for plural in ("services", "networkpolicies"):
        assert world.find(plural, "alpha"), plural
    assert world.get("dumbkvs", "alpha")["status"]["url"] == f"http://alpha.{world.namespace}.svc"
    assert other_world.conditions("zeta")["Exposed"]["reason"] == "AddressPending"
    assert other_world.find("ingresses", "zeta")
    if event == "moves":
        other_world.apply("zeta", exposed(f"other.{host}"))
    else:
        other_world.delete("dumbkvs", "zeta")
    world.wait_condition("alpha", "Exposed", "False", "AddressPending")
    assert world.get("ingresses", "alpha")["spec"]["rules"][0]["host"] == host
    assert world.get("dumbkvs", "alpha")["status"]["url"] == f"https://{host}"


def test_a_resource_that_moves_to_a_taken_host_gives_up_its_ingress(operator: Operator, world: World) -> None:
    older = world.apply("older", exposed(f"{world.namespace}.example.com"))
    younger(world, "younger", older, exposed(f"own.{world.namespace}.example.com"))
    eventually(lambda: world.find("ingresses", "younger"), "the Ingress", 10)
    world.apply("younger", exposed(f"{world.namespace}.example.com"))
    world.wait_condition("younger", "Exposed", "False", "HostTaken")
    eventually(lambda: world.find("ingresses", "younger") is None, "the Ingress to go", 10)
    assert world.find("ingresses", "older")


@pytest.mark.parametrize("event", ["moves", "goes"])
def test_the_younger_of_two_with_one_database_starts_no_server_until_the_older_one(
    operator: Operator, world: World, event: str
) -> None:
    world.secret("database", uri="postgres://user:password@db:5432/kv")
    older = world.apply("zeta", postgres())
    younger(world, "alpha", older, postgres())
    told = world.wait_condition("alpha", "DatabaseReady", "False", "DatabaseTaken")
    assert f"{world.namespace}/zeta" in told["message"]
    assert "a database and a Secret of its own" in told["message"]
    world.wait_condition("alpha", "Ready", "False", "DatabaseTaken")
    eventually(lambda: world.find("services", "alpha"), "the other children", 10)
    assert world.find("deployments", "alpha") is None
    world.make_ready("zeta")
    if event == "moves":
        world.secret("another", uri="postgres://user:password@db:5432/another")
        world.apply("zeta", {"postgres": {"secretRef": {"name": "another"}}})
    else:
        world.delete("dumbkvs", "zeta")
    world.make_ready("alpha")


def test_a_serving_resource_keeps_its_database_when_it_is_pointed_at_a_taken_one(
    operator: Operator, world: World
) -> None:
    for name in ("first", "second"):
        world.secret(name, uri=f"postgres://user:password@db:5432/{name}")
    older = world.apply("older", postgres(postgres={"secretRef": {"name": "first"}}))
    younger(world, "younger", older, postgres(postgres={"secretRef": {"name": "second"}}))
    world.make_ready("younger")
    before = world.get("deployments", "younger")["metadata"]["generation"]
    world.apply("younger", {"postgres": {"secretRef": {"name": "first"}}})
    world.wait_condition("younger", "Ready", "False", "DatabaseTaken")
    assert world.get("deployments", "younger")["metadata"]["generation"] == before
    world.apply("younger", {"postgres": {"secretRef": {"name": "second"}}})
    world.wait_condition("younger", "Ready", "True")
    assert world.get("deployments", "younger")["metadata"]["generation"] == before
