"""Each rule of the CRD, on a real API server; the parser agrees with it on every resource here."""

import json
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from dumbkv_operator import children
from dumbkv_operator.children import AuthMaterial, Context
from dumbkv_operator.spec import parse
from tests.support.resources import INVALID, INVALID_NAMES, VALID, body, postgres

NAMESPACE = "admission"


class Result(Protocol):
    """A program's end."""

    returncode: int
    stdout: str
    stderr: str


class Api(Protocol):
    """A real API server with the CRD."""

    def kubectl(self, *arguments: str, stdin: str | None = None) -> Result:
        """Run kubectl on it."""


@pytest.fixture(scope="module", autouse=True)
def namespace(api: Api) -> Iterator[None]:
    assert api.kubectl("create", "namespace", NAMESPACE).returncode == 0
    yield
    api.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def create(api: Api, given: Any) -> Result:
    return api.kubectl(
        "create", "-n", NAMESPACE, "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(given)
    )


@pytest.mark.parametrize("name", VALID)
def test_a_valid_resource_is_accepted_and_its_defaults_are_the_parsers(api: Api, name: str) -> None:
    given = body(VALID[name])
    result = create(api, given)
    assert result.returncode == 0, result.stderr
    assert parse(json.loads(result.stdout)).spec == parse(given).spec


def test_the_spec_can_be_left_out(api: Api) -> None:
    result = create(api, body())
    assert json.loads(result.stdout)["spec"]["backend"] == "sqlite", result.stderr


@pytest.mark.parametrize("reason", INVALID)
def test_an_invalid_resource_is_refused_by_name(api: Api, reason: str) -> None:
    spec, message = INVALID[reason]
    result = create(api, body(spec))
    assert result.returncode != 0
    assert message in result.stderr


@pytest.mark.parametrize("name", INVALID_NAMES)
def test_a_name_that_makes_no_valid_child_names_is_refused(api: Api, name: str) -> None:
    result = create(api, body({}, name=name))
    assert result.returncode != 0
    assert "metadata.name" in result.stderr


@pytest.mark.parametrize(
    ("toleration", "message"),
    [
        ({"operator": "Exists", "value": "x"}, "has no value"),
        ({"operator": "Equal", "value": "x"}, "needs operator Exists"),
        ({"key": "a", "tolerationSeconds": 3}, "needs effect NoExecute"),
    ],
)
def test_a_toleration_that_no_pod_can_have_is_refused(
    api: Api, toleration: dict[str, Any], message: str
) -> None:
    assert message in create(api, body({"tolerations": [toleration]})).stderr


DEFAULT_STORAGE = {"size": "1Gi", "storageClassName": "efs", "accessModes": ["ReadWriteOnce"]}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({}, postgres(), "backend is immutable"),
        (postgres(), {"backend": "sqlite", "postgres": None}, "backend is immutable"),
        ({}, {"storage": {"storageClassName": "fast"}}, "storageClassName is immutable"),
        (
            {"storage": {"storageClassName": "fast"}},
            {"storage": {"storageClassName": None}},
            "storageClassName is immutable",
        ),
        ({}, {"storage": {"accessModes": ["ReadWriteMany"]}}, "accessModes is immutable"),
        (
            {"storage": {"accessModes": ["ReadWriteMany"]}},
            {"storage": {"accessModes": None}},
            "accessModes is immutable",
        ),
        ({}, {"storage": {"size": "1023Mi"}}, "size cannot shrink"),
        ({"storage": {"size": "10Gi"}}, {"storage": {"size": "9Gi"}}, "size cannot shrink"),
        ({"storage": {"size": "2Gi"}}, {"storage": None}, "size cannot shrink"),
        ({}, {"storage": DEFAULT_STORAGE}, None),
        ({"storage": DEFAULT_STORAGE}, {"storage": {"size": "1024Mi"}}, None),
        ({"storage": {"size": "1Gi"}}, {"storage": {"size": "2Ti"}}, None),
        ({}, {"storage": {"reclaimPolicy": "Delete"}}, None),
        (
            {"storage": {"accessModes": ["ReadWriteOnce", "ReadWriteMany"]}},
            {"storage": {"accessModes": ["ReadWriteMany", "ReadWriteOnce"]}},
            None,
        ),
        (postgres(), postgres(replicas=5, postgres={"secretRef": {"name": "other"}}), None),
    ],
)
def test_an_edit_that_the_data_cannot_follow_is_refused(
    api: Api, before: Any, after: Any, message: str | None
) -> None:
    made = api.kubectl("create", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(body(before, name="edited")))
    assert made.returncode == 0, made.stderr
    try:
        patch = json.dumps({"spec": after})
        result = api.kubectl("patch", "dkv", "edited", "-n", NAMESPACE, "--type=merge", "-p", patch)
        assert (result.returncode == 0) is (message is None), result.stderr
        assert message is None or message in result.stderr
    finally:
        api.kubectl("delete", "dkv", "edited", "-n", NAMESPACE)


@pytest.mark.parametrize("name", VALID)
def test_the_api_server_accepts_every_child_and_gives_it_back_unchanged(api: Api, name: str) -> None:
    context = Context("registry.example.com/server:1", AuthMaterial("token", "a read sha256:00"), "1 00")
    resource = parse(body(VALID[name], namespace=NAMESPACE, uid="00000000-0000-0000-0000-000000000001"))
    for child, manifest in children.desired(resource, context).items():
        known = child.api_version.split("/")[0] not in ("monitoring.coreos.com", "gateway.networking.k8s.io")
        if manifest is None or not known:
            continue
        result = api.kubectl(
            "apply", "--server-side", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(manifest)
        )
        assert result.returncode == 0, result.stderr
        assert_contained(manifest, json.loads(result.stdout), child.name(resource.name))


def assert_contained(desired: Any, observed: Any, path: str) -> None:
    """Assert that `observed` has all that `desired` has: no value is written in a form of its own."""
    if isinstance(desired, dict):
        for key, value in desired.items():
            if value is not None:
                assert key in observed, path
                assert_contained(value, observed[key], f"{path}.{key}")
    elif isinstance(desired, list):
        assert len(desired) == len(observed), path
        for number, (wanted, found) in enumerate(zip(desired, observed, strict=True)):
            assert_contained(wanted, found, f"{path}[{number}]")
    else:
        assert desired == observed, path


def test_the_pods_pass_the_restricted_standard(api: Api) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    assert api.kubectl("label", "namespace", NAMESPACE, label, "--overwrite").returncode == 0
    for spec in ({}, postgres(replicas=2)):
        resource = parse(body(spec, namespace=NAMESPACE))
        context = Context("image", AuthMaterial("token", "tokens"), "1 00")
        deployment = children.desired(resource, context)[children.DEPLOYMENT]
        assert deployment is not None
        template = deployment["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]} | {"metadata": {"name": "pod"}}
        result = api.kubectl("create", "-n", NAMESPACE, "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
        # Where no controller manager runs there is no default ServiceAccount; nothing else may be wrong.
        assert result.returncode == 0 or 'serviceaccount "default" not found' in result.stderr, result.stderr


def test_the_operator_installs_with_one_command(api: Api) -> None:
    result = api.kubectl("apply", "--server-side", "--dry-run=server", "-k", "crds")
    assert result.returncode == 0, result.stderr
    rendered = api.kubectl("kustomize", "manifests/operator")
    assert rendered.returncode == 0, rendered.stderr
    for name in ("Namespace", "CustomResourceDefinition", "ClusterRole", "Deployment", "Service"):
        assert f"kind: {name}\n" in rendered.stdout
