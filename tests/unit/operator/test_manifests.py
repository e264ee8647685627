"""The manifests that install the operator, and the CRD, agree with its code."""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
import yaml

from dumbkv_operator import names, permissions
from dumbkv_operator.children import Context, deployment
from dumbkv_operator.permissions import Permission
from dumbkv_operator.settings import Settings
from dumbkv_operator.spec import Spec, parse
from tests.support.resources import body

MANIFESTS = Path(__file__).parents[3] / "manifests"


def load(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


CRD: Any = load(MANIFESTS.parent / "crds" / "dumbkvs.yaml")[0]
SCHEMA: Any = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SPEC: Any = SCHEMA["properties"]["spec"]
OPERATOR = {
    (each["kind"], each["metadata"]["name"]): each
    for file in sorted((MANIFESTS / "operator").glob("*.yaml"))
    if file.name != "kustomization.yaml"
    for each in load(file)
}


def granted(role: Any) -> set[Permission]:
    return {
        Permission(group, resource, frozenset(rule["verbs"]), frozenset(rule.get("resourceNames", ())))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


@pytest.mark.parametrize(
    ("kind", "expected"), [("ClusterRole", permissions.CLUSTER), ("Role", permissions.NAMESPACE)]
)
def test_the_operator_may_do_what_it_does_and_nothing_else(kind: str, expected: set[Permission]) -> None:
    found = granted(OPERATOR[kind, "dumbkv-operator"])
    assert found == expected
    assert not any("*" in {each.group, each.plural, *each.verbs} for each in found)


def test_the_operator_is_bound_to_its_roles() -> None:
    account = {"kind": "ServiceAccount", "name": "dumbkv-operator", "namespace": "dumbkv-system"}
    for kind, role in (("ClusterRoleBinding", "ClusterRole"), ("RoleBinding", "Role")):
        binding = OPERATOR[kind, "dumbkv-operator"]
        assert binding["subjects"] == [account]
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == (role, "dumbkv-operator")


def test_the_operators_deployment_agrees_with_its_settings() -> None:
    pod = OPERATOR["Deployment", "dumbkv-operator"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert ports == {"metrics": defaults["metrics_port"], "probe": defaults["probe_port"]}
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["DUMBKV_OPERATOR_SERVER_IMAGE"] == defaults["server_image"]
    assert {"POD_NAMESPACE", "POD_NAME"} <= set(environment)
    assert pod["serviceAccountName"] == "dumbkv-operator"


def test_the_operator_leaves_a_lost_node_as_soon_as_its_servers_do() -> None:
    server = deployment.build(parse(body()), Context("server:1", None, ""))
    operators = OPERATOR["Deployment", "dumbkv-operator"]
    pods = [each["spec"]["template"]["spec"] for each in (operators, server)]
    assert pods[0]["tolerations"] == pods[1]["tolerations"]


def test_the_operators_pod_is_never_taken_for_a_child() -> None:
    labels = OPERATOR["Deployment", "dumbkv-operator"]["spec"]["template"]["metadata"]["labels"]
    assert names.LABEL_MANAGED_BY not in labels


def test_the_crd_is_the_kind_that_the_operator_watches() -> None:
    assert CRD["spec"]["group"] == names.GROUP
    assert CRD["spec"]["names"]["kind"] == names.KIND
    assert CRD["spec"]["names"]["plural"] == names.PLURAL
    assert CRD["spec"]["versions"][0]["name"] == names.VERSION
    assert {"observedGeneration", "url", "binding", "image", "conditions"} <= set(
        SCHEMA["properties"]["status"]["properties"]
    )


def test_every_field_is_described() -> None:
    def undescribed(schema: Any, path: str) -> list[str]:
        found = [] if "description" in schema else [path]
        for name, inner in schema.get("properties", {}).items():
            found += undescribed(inner, f"{path}.{name}")
        if "properties" in schema.get("items", {}):
            for name, inner in schema["items"]["properties"].items():
                found += undescribed(inner, f"{path}[].{name}")
        return found

    assert undescribed(SPEC, "spec") == []
    assert undescribed(SCHEMA["properties"]["status"], "status") == []


def structs(annotation: Any) -> list[type[msgspec.Struct]]:
    """Return the structs in an annotation: `X`, `X | None`, `tuple[X, ...]`, with constraints or without."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return [annotation]
    return [found for argument in get_args(annotation) for found in structs(argument)]


def fields(part: type[msgspec.Struct], schema: Any, path: str) -> list[tuple[str, Any, Any]]:
    """Return (path, msgspec field, schema) of every field, and fail where one of the two has more."""
    properties = schema.get("items", schema)["properties"]
    known = msgspec.structs.fields(part)
    assert {field.encode_name for field in known} == set(properties), path
    found = []
    for field in known:
        inner, place = properties[field.encode_name], f"{path}.{field.encode_name}"
        found.append((place, field, inner))
        for struct in structs(field.type):
            found += fields(struct, inner, place)
    return found


FIELDS = fields(Spec, SPEC, "spec")


@pytest.mark.parametrize(("path", "field", "schema"), FIELDS, ids=[path for path, _, _ in FIELDS])
def test_the_schema_and_the_parser_agree(path: str, field: Any, schema: Any) -> None:
    del path
    if "default" in schema and schema["default"] != {}:
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        assert msgspec.to_builtins(default) == schema["default"]
    limits = {"pattern": "pattern", "ge": "minimum", "le": "maximum"}
    limits |= (
        {"min_length": "minItems", "max_length": "maxItems"}
        if schema["type"] == "array"
        else {"min_length": "minProperties", "max_length": "maxProperties"}
        if schema["type"] == "object"
        else {"min_length": "minLength", "max_length": "maxLength"}
    )
    for meta in metas(field.type):
        for ours, theirs in limits.items():
            assert getattr(meta, ours) == schema.get(theirs), theirs
    if choices := literals(field.type):
        assert choices == schema.get("items", schema)["enum"]


def metas(annotation: Any) -> list[msgspec.Meta]:
    own = [each for each in getattr(annotation, "__metadata__", ()) if isinstance(each, msgspec.Meta)]
    if own or get_origin(annotation) in (tuple, dict, Literal):
        return own
    return [found for argument in get_args(annotation) for found in metas(argument)]


def literals(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [found for argument in get_args(annotation) for found in literals(argument)]


def test_the_defaults_of_the_schema_are_valid() -> None:
    assert parse(body(SPEC["default"])).spec == parse(body()).spec
