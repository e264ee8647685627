"""What the operator may do in a cluster: manifests/operator/rbac.yaml grants this, and no more."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from dumbkv_operator import names
from dumbkv_operator.children import CHILDREN, Child

Verbs = frozenset[str]

OBSERVE: Final[Verbs] = frozenset({"get", "list", "watch"})
WATCH: Final[Verbs] = frozenset({"list", "watch"})
APPLY: Final[Verbs] = frozenset({"create", "patch"})
"""Server-side apply is a patch, and a creation too where the object is not there yet."""


@dataclass(frozen=True)
class Permission:
    """Verbs on one kind of object; with `object_names` only on those."""

    group: str
    plural: str
    verbs: Verbs
    object_names: frozenset[str] = frozenset()


def _on_children(children: Iterable[Child]) -> Iterator[Permission]:
    """Yield what the children need, each kind once.

    Only what a specification can stop asking for is ever deleted, and data never is: owner references do the
    rest.
    """
    verbs: defaultdict[tuple[str, str], Verbs] = defaultdict(frozenset)
    for child in children:
        group = child.api_version.rpartition("/")[0]
        deleted = child.optional and not child.retained
        verbs[group, child.plural] |= OBSERVE | APPLY | ({"delete"} if deleted else frozenset())
    for (group, plural), needed in verbs.items():
        yield Permission(group, plural, needed)


CLUSTER: Final = frozenset(
    {
        *_on_children(CHILDREN),
        Permission(names.GROUP, names.PLURAL, WATCH),
        Permission(names.GROUP, f"{names.PLURAL}/status", frozenset({"patch"})),
        # Why a server does not become ready.
        Permission("", "pods", WATCH),
        # Which kinds of children the cluster knows.
        Permission("apiextensions.k8s.io", "customresourcedefinitions", WATCH),
        # Whether a claim can be bound, and grow.
        Permission("storage.k8s.io", "storageclasses", WATCH),
        Permission("events.k8s.io", "events", frozenset({"create"})),
    }
)
"""In the whole cluster."""

NAMESPACE: Final = frozenset(
    {
        # The name of what is being created cannot be limited.
        Permission("coordination.k8s.io", "leases", frozenset({"create"})),
        Permission(
            "coordination.k8s.io", "leases", frozenset({"get", "update"}), frozenset({"dumbkv-operator"})
        ),
    }
)
"""In the operator's own namespace."""
