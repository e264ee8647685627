from typing import Any

import pytest

from dumbkv_operator.spec import SpecError, parse, unknown_fields
from tests.support.resources import EVERYTHING, INVALID, INVALID_NAMES, VALID, body


@pytest.mark.parametrize("name", VALID)
def test_accepts_a_valid_resource(name: str) -> None:
    assert parse(body(VALID[name])).spec.replicas >= 1


@pytest.mark.parametrize("reason", INVALID)
def test_refuses_what_admission_refuses_and_names_the_field(reason: str) -> None:
    spec, message = INVALID[reason]
    with pytest.raises(SpecError) as caught:
        parse(body(spec))
    assert message in str(caught.value)


@pytest.mark.parametrize("name", INVALID_NAMES)
def test_refuses_a_name_that_makes_no_valid_child_names(name: str) -> None:
    with pytest.raises(SpecError, match=r"metadata\.name"):
        parse(body({}, name=name))


def test_names_every_problem_at_once() -> None:
    with pytest.raises(SpecError, match=r"metadata\.name.*spec\.replicas"):
        parse(body({"replicas": 2}, name="1st"))


@pytest.mark.parametrize("spec", [None, {}, {"storage": None, "ingress": {"host": None}}])
def test_what_is_left_out_or_null_has_its_default(spec: Any) -> None:
    resource = parse(body(spec))
    assert resource.spec == parse(body()).spec
    assert resource.spec.storage.size == "1Gi"
    assert resource.spec.storage.storage_class_name == "efs"
    assert resource.spec.monitoring.labels == {"release": "prometheus"}


def test_reads_what_the_api_server_says_of_the_resource() -> None:
    resource = parse(
        body(
            {},
            namespace="team",
            uid="0-1",
            generation=3,
            creationTimestamp="2026-01-02T03:04:05Z",
            deletionTimestamp="2026-01-02T03:05:05Z",
        )
    )
    assert resource.key == ("team", "store")
    assert (resource.uid, resource.generation, resource.created) == ("0-1", 3, "2026-01-02T03:04:05Z")
    assert resource.deleting


@pytest.mark.parametrize(
    ("spec", "url"),
    [
        ({}, "https://dumbkv.example.com"),
        ({"ingress": {"host": "kv.example.org"}}, "https://kv.example.org"),
        ({"ingress": {"enabled": False}}, "http://store.team.svc"),
        ({"gateway": {"parentRef": {"name": "edge"}}}, "https://dumbkv.example.com"),
        ({"gateway": {"parentRef": {"name": "edge", "port": 80}}}, "http://dumbkv.example.com"),
        (
            {"gateway": {"parentRef": {"name": "edge"}}, "ingress": {"enabled": False}},
            "https://dumbkv.example.com",
        ),
    ],
)
def test_the_url_is_where_clients_reach_the_server(spec: dict[str, Any], url: str) -> None:
    assert parse(body(spec, namespace="team")).url == url


def test_passes_over_a_field_of_a_newer_version_and_can_name_it() -> None:
    newer = body({"shards": 3, "storage": {"size": "2Gi", "tier": "cold"}, "podLabels": {"a": "b"}})
    assert parse(newer).spec.storage.size == "2Gi"
    assert unknown_fields(newer) == ["spec.shards", "spec.storage.tier"]
    assert unknown_fields(body(EVERYTHING)) == []
