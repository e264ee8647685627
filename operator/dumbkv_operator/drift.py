"""What differs between a desired manifest and what the API server has, field by field. All pure.

The comparison is one-sided, as server-side apply is: only what the manifest says counts. What the server
fills in and what others add beside it (a label, a container) is theirs.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dumbkv_operator import names
from dumbkv_operator.quantity import amount

MERGE_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
    "imagePullSecrets": ("name",),
    # A NetworkPolicy's `ports` are not merged.
    "spec.ports": ("port", "protocol"),
    "spec.template.spec.containers.ports": ("containerPort", "protocol"),
}
"""Lists that the API merges by a key (`x-kubernetes-list-type: map`), as far as they are met in children, by
their field's name or whole path. Every other list is compared whole."""

ATOMIC_MAPS: Final = frozenset({"selector", "matchLabels", "nodeSelector"})
"""Maps that the API replaces whole (`x-kubernetes-map-type: atomic`): a key that was added counts too."""

QUANTITY_PARENTS: Final = frozenset({"limits", "requests"})
QUANTITY_FIELDS: Final = frozenset({"sizeLimit"})


def digest(manifest: Mapping[str, Any]) -> str:
    """Return the hash of a manifest that goes into the annotation `desired-hash`."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stamp(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest with its own hash among its annotations."""
    metadata = dict(manifest["metadata"])
    metadata["annotations"] = {**metadata.get("annotations", {}), names.ANNOTATION_HASH: digest(manifest)}
    return {**manifest, "metadata": metadata}


def stamped(observed: Mapping[str, Any]) -> str | None:
    """Return the hash that was applied last, or None: it carries none."""
    value = (observed["metadata"].get("annotations") or {}).get(names.ANNOTATION_HASH)
    return None if value is None else str(value)


def differences(desired: Any, observed: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each field of `desired` that `observed` has not, or has otherwise."""
    field = path.rpartition(".")[2].partition("[")[0]
    if _empty(desired) and _empty(observed):
        return
    if isinstance(desired, Mapping) and isinstance(observed, Mapping):
        for key, value in desired.items():
            yield from differences(value, observed.get(key), _join(path, key))
        if field in ATOMIC_MAPS:
            yield from (_join(path, key) for key in observed if key not in desired)
    elif isinstance(desired, list) and isinstance(observed, list):
        keys = MERGE_KEYS.get(re.sub(r"\[[^]]*\]", "", path)) or MERGE_KEYS.get(field)
        yield from _list_differences(desired, observed, path, keys)
    elif not _same(desired, observed, path):
        yield path


def _list_differences(
    desired: list[Any], observed: list[Any], path: str, keys: tuple[str, ...] | None
) -> Iterator[str]:
    if keys is None:
        if len(desired) != len(observed):
            yield path
            return
        for number, (one, other) in enumerate(zip(desired, observed, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
        return
    found = {tuple(item.get(key) for key in keys): item for item in observed}
    for item in desired:
        identity = tuple(item.get(key) for key in keys)
        where = f"{path}[{','.join(map(str, identity))}]"
        if identity in found:
            yield from differences(item, found[identity], where)
        else:
            yield where


def _same(desired: object, observed: object, path: str) -> bool:
    if type(desired) is type(observed) and desired == observed:
        return True
    steps = path.split(".")
    if steps[-1] in QUANTITY_FIELDS or (len(steps) > 1 and steps[-2] in QUANTITY_PARENTS):
        return _same_amount(str(desired), str(observed))
    return False


def _same_amount(desired: str, observed: str) -> bool:
    try:
        return amount(desired) == amount(observed)
    except ArithmeticError:  # One of them is no quantity.
        return False


def _empty(value: object) -> bool:
    # The API server leaves out what is empty: an absent field and an empty one say the same.
    return value is None or value == "" or value == {} or value == []


def _join(path: str, key: str) -> str:
    # A key with dots, such as a label's, is set in brackets so that the path can be read.
    if "." in key or "/" in key:
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key
