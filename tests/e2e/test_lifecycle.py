"""A DumbKV from apply to deletion, on each backend, as its users and its operators live with it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devcluster.kubectl import Kubectl
from tests.e2e.conftest import Instance, postgres_manifests
from tests.support.eventually import eventually

CHILDREN = ("deployment", "service", "ingress", "servicemonitor", "networkpolicy", "secret")
BACKENDS = ("sqlite", "postgres")


def specification(kubectl: Kubectl, backend: str, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"backend": backend, "ingress": {"host": f"{name}.example.com"}}
    if backend == "postgres":
        database = f"{name}-database"
        kubectl.apply(*postgres_manifests(database))
        kubectl("rollout", "status", f"deployment/{database}", "--timeout=90s")
        spec["postgres"] = {"secretRef": {"name": database}}
    return spec


def create(kubectl: Kubectl, backend: str, name: str) -> Instance:
    instance = Instance(kubectl, name, specification(kubectl, backend, name))
    instance.apply()
    instance.wait_ready()
    instance.start_client()
    return instance


@pytest.fixture(scope="module", params=BACKENDS)
def instance(request: pytest.FixtureRequest, kubectl: Kubectl) -> Iterator[Instance]:
    name = f"shared-{request.param}"
    yield create(kubectl, request.param, name)
    kubectl("delete", "dumbkv", name, "--timeout=30s")


def versions(instance: Instance) -> dict[str, str]:
    """Returns the resource version of the resource and of every child, by kind and name."""
    kinds = "dumbkv,deployment,service,ingress,servicemonitor,networkpolicy,secret,persistentvolumeclaim"
    listed = instance.kubectl.get(kinds, "-l", f"app.kubernetes.io/instance={instance.name}")["items"]
    listed.append(instance.resource())
    return {
        f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["resourceVersion"] for each in listed
    }


def test_a_key_is_put_got_and_deleted_through_the_service(instance: Instance) -> None:
    key = {"database": 3, "key": "of this test"}
    put, got, deleted, again, gone = instance.send(
        ("PUT", "/kv", key | {"value": "kept"}),
        ("POST", "/kv", key),
        ("DELETE", "/kv", key),
        ("DELETE", "/kv", key),
        ("POST", "/kv", key),
    )
    assert put[0] == 200
    assert put[1]["status"] == "success"
    assert got == (200, {"value": "kept", "revision": put[1]["revision"], "expires_at": None})
    assert deleted == (200, {"status": "success", "deleted": True})
    assert again == (200, {"status": "success", "deleted": False})
    assert gone[0] == 404


def test_the_columns_tell_how_it_is(instance: Instance) -> None:
    header, row = instance.kubectl("get", "dkv", instance.name).splitlines()
    assert header.split() == ["NAME", "BACKEND", "READY", "REASON", "URL", "AGE"]
    assert row.split()[:3] == [instance.name, instance.spec["backend"], "True"]
    assert row.split()[4] == f"https://{instance.name}.example.com"


def test_data_outlives_the_pod(instance: Instance) -> None:
    instance.send(("PUT", "/kv", {"key": "outlives", "value": "its pod"}))
    before = instance.pod_uids()
    instance.kubectl("delete", "pod", "-l", f"app.kubernetes.io/instance={instance.name}")
    eventually(lambda: instance.pod_uids() and not instance.pod_uids() & before, "a new pod")
    instance.wait_ready()
    instance.kubectl("rollout", "status", f"deployment/{instance.name}", "--timeout=60s")
    assert instance.send(("POST", "/kv", {"key": "outlives"}))[0][1]["value"] == "its pod"


EDITS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "deployment": (
        '{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":7}}}}',
        lambda child: child["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
    ),
    "service": (
        '{"spec":{"selector":{"app.kubernetes.io/instance":"nobody"}}}',
        lambda child: child["spec"]["selector"],
    ),
    "ingress": (
        '{"metadata":{"annotations":{"cert-manager.io/cluster-issuer":"mine"}}}',
        lambda child: child["metadata"]["annotations"],
    ),
    "servicemonitor": (
        '{"spec":{"selector":{"matchLabels":{"app.kubernetes.io/instance":"nobody"}}}}',
        lambda child: child["spec"]["selector"],
    ),
    "networkpolicy": (
        '{"spec":{"policyTypes":["Egress"]}}',
        lambda child: sorted(child["spec"]["policyTypes"]),
    ),
    "secret": ('{"stringData":{"host":"elsewhere"}}', lambda child: child["data"]["host"]),
}


def child_name(kind: str, instance: Instance) -> str:
    return f"{instance.name}-binding" if kind == "secret" else instance.name


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_child_edited_by_hand_is_repaired_and_told(instance: Instance, kind: str) -> None:
    patch, field = EDITS[kind]
    name = child_name(kind, instance)
    wanted = field(instance.kubectl.get(kind, name))
    instance.kubectl("patch", kind, name, "--type=merge", "-p", patch)
    eventually(lambda: field(instance.kubectl.get(kind, name)) == wanted, f"{kind} repaired")
    told = eventually(lambda: instance.conditions().get("DriftCorrected"), "DriftCorrected told")
    assert told["status"] == "True"
    instance.wait_ready()


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_child_deleted_by_hand_comes_back(instance: Instance, kind: str) -> None:
    name = child_name(kind, instance)
    before = instance.kubectl.get(kind, name)["metadata"]["uid"]
    instance.kubectl("delete", kind, name)

    def recreated() -> bool:
        child = instance.kubectl.find(kind, name)
        return child is not None and child["metadata"]["uid"] != before

    eventually(recreated, f"{kind} created again")
    instance.kubectl("rollout", "status", f"deployment/{instance.name}", "--timeout=60s")
    instance.wait_ready()


def test_an_edit_of_the_spec_is_followed(instance: Instance) -> None:
    spec = {"podLabels": {"team": "blue"}, "ingress": {"host": f"{instance.name}-moved.example.com"}}
    instance.apply(**spec)
    instance.wait_ready()
    deployment = instance.kubectl.get("deployment", instance.name)
    assert deployment["spec"]["template"]["metadata"]["labels"]["team"] == "blue"
    assert deployment["status"]["updatedReplicas"] == deployment["status"]["availableReplicas"] == 1
    ingress = instance.kubectl.get("ingress", instance.name)
    assert ingress["spec"]["rules"][0]["host"] == f"{instance.name}-moved.example.com"
    assert instance.resource()["status"]["url"] == f"https://{instance.name}-moved.example.com"
    instance.apply()
    instance.wait_ready()


def test_suspending_stops_the_pods_and_resuming_brings_the_data_back(instance: Instance) -> None:
    instance.send(("PUT", "/kv", {"key": "asleep", "value": "and awake"}))
    instance.apply(suspended=True)
    instance.wait_condition("Suspended", "True", "Suspended")
    eventually(lambda: not instance.pod_uids(), "no pod while suspended")
    instance.apply(suspended=False)
    instance.wait_ready()
    assert instance.send(("POST", "/kv", {"key": "asleep"}))[0][1]["value"] == "and awake"


def test_a_second_one_stands_beside_the_first_and_a_taken_host_is_told(instance: Instance) -> None:
    second = Instance(
        instance.kubectl, f"second-{instance.spec['backend']}", {"ingress": {"host": "second.example.com"}}
    )
    second.apply()
    second.wait_ready()
    second.apply(ingress={"host": f"{instance.name}.example.com"})
    told = second.wait_condition("Exposed", "False", "HostTaken")
    assert instance.name in told["message"]
    assert second.conditions()["Ready"]["status"] == "True"
    assert (
        instance.kubectl.get("ingress", instance.name)["spec"]["rules"][0]["host"]
        == f"{instance.name}.example.com"
    )
    second.apply()
    eventually(lambda: second.conditions()["Exposed"]["reason"] != "HostTaken", "the conflict to heal")
    instance.kubectl("delete", "dumbkv", second.name, "--timeout=30s")


@pytest.mark.parametrize("backend", BACKENDS)
def test_deleted_and_created_again_it_has_its_data(kubectl: Kubectl, backend: str) -> None:
    instance = create(kubectl, backend, f"reborn-{backend}")
    instance.send(("PUT", "/kv", {"key": "survivor", "value": "of a deletion"}))
    token = instance.secret(f"{instance.name}-auth")["token"]
    kubectl("delete", "dumbkv", instance.name, "--timeout=30s")
    for kind in ("deployment", "service", "ingress"):
        eventually(lambda kind=kind: kubectl.find(kind, instance.name) is None, f"{kind} gone with its owner")  # type: ignore[misc]
    kubectl("delete", "pod", f"client-{instance.name}", "--wait=true")

    instance.apply()
    instance.wait_ready()
    instance.start_client()
    assert instance.secret(f"{instance.name}-auth")["token"] == token
    assert instance.send(("POST", "/kv", {"key": "survivor"}))[0][1]["value"] == "of a deletion"
    kubectl("delete", "dumbkv", instance.name, "--timeout=30s")


def test_a_restarted_operator_restarts_no_pod_and_writes_nothing(
    instance: Instance, cluster: Kubectl
) -> None:
    system = cluster.within("dumbkv-system")
    pods, written, before = instance.pod_uids(), versions(instance), instance.resource()
    system("delete", "pod", "-l", "app.kubernetes.io/name=dumbkv-operator", "--wait=true")
    system("rollout", "status", "deployment/dumbkv-operator", "--timeout=90s")
    holder = eventually(lambda: current_holder(system), "the new operator to hold the lease")
    assert holder
    # A resource that the new operator has served proves that its first visit of all the others is over.
    witness = Instance(instance.kubectl, "witness", {"ingress": {"host": "witness.example.com"}})
    witness.apply()
    witness.wait_ready()
    assert instance.pod_uids() == pods
    assert instance.resource() == before
    assert versions(instance) == written
    instance.kubectl("delete", "dumbkv", witness.name, "--timeout=30s")


def current_holder(system: Kubectl) -> str | None:
    """Returns the Lease's holder once it is a pod that lives."""
    names = {pod["metadata"]["name"] for pod in system.get("pods")["items"]}
    holder: str | None = system.get("lease", "dumbkv-operator")["spec"].get("holderIdentity")
    return holder if holder and any(name in holder for name in names) else None
