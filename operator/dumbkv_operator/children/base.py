"""What every builder of a child shares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from dumbkv_operator import names
from dumbkv_operator.spec import Resource

Manifest = dict[str, Any]

HTTP_PORT: Final = 8000
"""The TCP port that the server listens on."""

USER_ID: Final = 10001
"""The numeric user and group of the server's image."""


@dataclass(frozen=True)
class AuthMaterial:
    """What the Secret with the bearer tokens holds."""

    token: str | None
    """A token in plain text for clients; unknown where the user's own Secret has none."""
    tokens: str
    """The server's file: one `name scopes sha256:hash` a line."""


@dataclass(frozen=True)
class Context:
    """What a builder needs besides the resource: read from the cluster, or generated, by the caller."""

    server_image: str
    auth: AuthMaterial | None
    peppers: str
    database_uri: str | None = None


@dataclass(frozen=True)
class Child:
    """A kind of child, and how to build it. `name` gives the child's name from the resource's."""

    kind: str
    api_version: str
    plural: str
    build: Callable[[Resource, Context], Manifest | None]
    name: Callable[[str], str]
    retained: bool = False
    """Data: it outlives its resource unless `storage.reclaimPolicy` is `Delete`."""
    optional: bool = False
    """Whether a specification can do without it, so that `build` may return None."""


def same_name(name: str) -> str:
    """Return the name of a child that is called as its resource is."""
    return name


def metadata(
    resource: Resource,
    name: str,
    *,
    data: bool = False,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> Manifest:
    """Return the metadata of the child `name`.

    With `data` the child says by a label whose it is, and has no owner reference unless the resource wants
    its data deleted. The operator's own labels win over `labels`.
    """
    result: Manifest = {
        "name": name,
        "namespace": resource.namespace,
        "labels": {**(labels or {}), **names.labels(resource.name)},
    }
    if annotations:
        result["annotations"] = annotations
    if data:
        result["labels"][names.LABEL_OWNER] = resource.name
    if not data or resource.spec.storage.reclaim_policy == "Delete":
        result["ownerReferences"] = [_owner(resource)]
    return result


def _owner(resource: Resource) -> Manifest:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": resource.name,
        "uid": resource.uid,
        "controller": True,
        # A foreground deletion of the resource never waits for a child.
        "blockOwnerDeletion": False,
    }
