"""Pure: from resources as text to the manifests that the operator would apply."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import yaml

from dumbkv_operator import names
from dumbkv_operator.children import CHILDREN, AuthMaterial, Context, Manifest
from dumbkv_operator.spec import Resource, SpecError, parse, unknown_fields

# Secrets are built with this and left out: what they hold only the cluster knows.
_NO_MATERIAL: Final = AuthMaterial(token="left out", tokens="left out")  # noqa: S106


class RenderError(ValueError):
    """The text is no YAML, or a document in it is no resource. The message says which, and what to do."""


def resources(text: str) -> Iterator[Resource]:
    """Yield each DumbKV in `text`, YAML or JSON of any number of documents, or lists of them.

    Objects of other kinds are passed over. Raises RenderError where a resource is not valid.
    """
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise RenderError(f"not YAML: {error}") from error
    for number, document in enumerate(documents, start=1):
        for body in _objects(document, number):
            if body.get("kind") == names.KIND:
                yield _resource(body, number)


def _objects(document: Any, number: int) -> list[Mapping[str, Any]]:
    if document is None:
        return []
    if not isinstance(document, Mapping) or "kind" not in document:
        raise RenderError(f"document {number}: not a Kubernetes object, it has no `kind`")
    if document["kind"] in ("List", f"{names.KIND}List"):
        return [body for body in document.get("items") or [] if isinstance(body, Mapping)]
    return [document]


def _resource(body: Mapping[str, Any], number: int) -> Resource:
    name = (body.get("metadata") or {}).get("name")
    place = f"document {number} ({names.KIND} {name})"
    if body.get("apiVersion") != names.API_VERSION:
        raise RenderError(f"{place}: apiVersion must be {names.API_VERSION}, not {body.get('apiVersion')}")
    try:
        resource = parse(body)
    except SpecError as error:
        raise RenderError(f"{place}: {error}") from error
    if unknown := unknown_fields(body):
        raise RenderError(f"{place}: no such field: {', '.join(unknown)}")
    # Without a namespace it goes where `kubectl apply -n` says.
    return msgspec.structs.replace(resource, namespace=(body.get("metadata") or {}).get("namespace") or "")


def manifests(resource: Resource, server_image: str, *, standalone: bool = False) -> list[Manifest]:
    """Return the manifests of the children of `resource`, in order of application, without the Secrets.

    With `standalone` they stand for themselves: nothing in them ties them to an operator.
    """
    context = Context(server_image=server_image, auth=_NO_MATERIAL, peppers="left out")
    built = [child.build(resource, context) for child in CHILDREN if child.kind != "Secret"]
    rendered = [_without_nulls(manifest) for manifest in built if manifest is not None]
    for manifest in rendered:
        if standalone or not resource.uid:
            manifest["metadata"].pop("ownerReferences", None)
        if not resource.namespace:
            manifest["metadata"].pop("namespace")
        if standalone:
            _remove_labels(manifest)
    return rendered


def _remove_labels(manifest: Manifest) -> None:
    # An operator would otherwise take the object for one of its own.
    metadata = [manifest["metadata"]]
    if "template" in manifest["spec"]:
        metadata.append(manifest["spec"]["template"]["metadata"])
    for each in metadata:
        for label in (names.LABEL_MANAGED_BY, names.LABEL_OWNER):
            each["labels"].pop(label, None)


def _without_nulls(value: Any) -> Any:
    """Return a copy of `value` without null fields: they matter to an object that exists already only."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


class _Dumper(yaml.SafeDumper):
    """Writes what occurs twice twice: a reader of manifests expects no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(rendered: list[Manifest]) -> str:
    """Return the manifests as YAML documents."""
    return yaml.dump_all(rendered, Dumper=_Dumper, sort_keys=False, width=110, explicit_start=True)


def to_json(rendered: list[Manifest]) -> str:
    """Return the manifests as one JSON List."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": rendered}, indent=2) + "\n"
