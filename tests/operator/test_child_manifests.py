"""The manifests of the children, on a real API server: accepted, given back unchanged, and secure."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from devcluster import upstream
from dumbkv_operator import children
from dumbkv_operator.children import AuthMaterial, Context
from dumbkv_operator.spec import parse
from tests.support.resources import VALID, body, postgres

REPOSITORY = Path(__file__).parents[2]
NAMESPACE = f"child-manifests-{uuid.uuid4().hex[:8]}"
KINDS = ("servicemonitors", "httproutes")


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
    """Make a namespace, and for as long the kinds that a cluster need not have."""
    found = [path for name in ("prometheus-operator", "gateway-api") for path in upstream.fetch(name)]
    files = [str(path) for path in found if path.stem.endswith(KINDS)]
    manifests = [argument for file in files for argument in ("-f", file)]
    try:
        applied = api.kubectl("apply", "--server-side", *manifests)
        assert applied.returncode == 0, applied.stderr
        established = api.kubectl("wait", "--for=condition=Established", "--timeout=30s", *manifests)
        assert established.returncode == 0, established.stderr
        assert api.kubectl("create", "namespace", NAMESPACE).returncode == 0
        yield
    finally:
        api.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
        api.kubectl("delete", "--timeout=30s", *manifests)


@pytest.mark.parametrize("name", VALID)
def test_the_api_server_accepts_every_child_and_gives_it_back_unchanged(api: Api, name: str) -> None:
    context = Context("registry.example.com/server:1", AuthMaterial("token", "a read sha256:00"), "1 00")
    resource = parse(body(VALID[name], namespace=NAMESPACE, uid="00000000-0000-0000-0000-000000000001"))
    manifests = [each for each in children.desired(resource, context).values() if each is not None]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    result = api.kubectl("apply", "--server-side", "--dry-run=server", "-o", "json", "-f", "-", stdin=listed)
    assert result.returncode == 0, result.stderr
    for desired, observed in zip(manifests, json.loads(result.stdout)["items"], strict=True):
        assert_contained(desired, observed, desired["kind"])


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


@pytest.mark.parametrize("spec", [{}, postgres(replicas=2)])
def test_the_pods_meet_the_restricted_standard(api: Api, spec: Any) -> None:
    label = "pod-security.kubernetes.io/warn=restricted"
    assert api.kubectl("label", "namespace", NAMESPACE, label, "--overwrite").returncode == 0
    context = Context("image", AuthMaterial("token", "tokens"), "1 00")
    resource = parse(body(spec, namespace=NAMESPACE, uid="00000000-0000-0000-0000-000000000001"))
    deployment: Any = children.desired(resource, context)[children.DEPLOYMENT]

    def warnings() -> str:
        manifest = json.dumps(deployment)
        result = api.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=manifest)
        assert result.returncode == 0, result.stderr
        return result.stderr

    assert "PodSecurity" not in warnings()
    del deployment["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    assert "PodSecurity" in warnings()


def test_the_operator_installs_with_one_command(api: Api) -> None:
    result = api.kubectl("apply", "--server-side", "--dry-run=server", "-k", str(REPOSITORY / "crds"))
    assert result.returncode == 0, result.stderr
    rendered = api.kubectl("kustomize", str(REPOSITORY / "manifests" / "operator"))
    assert rendered.returncode == 0, rendered.stderr
    for name in ("Namespace", "CustomResourceDefinition", "ClusterRole", "Deployment", "Service"):
        assert f"kind: {name}\n" in rendered.stdout
