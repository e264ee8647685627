"""Each rule of the CRD, on a real API server; the parser agrees with it on every resource here."""

import json
import uuid
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from dumbkv_operator.spec import parse
from tests.support.resources import INVALID, INVALID_NAMES, VALID, body, postgres

NAMESPACE = f"admission-{uuid.uuid4().hex[:8]}"


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
