"""What only one resource can have, and who has it: the older one keeps it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from dumbkv_operator import names
from dumbkv_operator.apply import NEED_PEPPERS, is_ours
from dumbkv_operator.children import (
    CLAIM,
    DEPLOYMENT,
    HTTP_ROUTE,
    INGRESS,
    PEPPER_SECRET,
    SERVICE_MONITOR,
    Child,
)
from dumbkv_operator.client import Object
from dumbkv_operator.informer import Key
from dumbkv_operator.reasons import Reason, Type
from dumbkv_operator.spec import Resource

Claim = tuple[str, ...]


def host_claim(resource: Resource) -> Claim | None:
    """Return the claim to the public host name, or None: the resource is not exposed."""
    spec = resource.spec
    return ("host", spec.ingress.host) if spec.ingress.enabled or spec.gateway else None


def database_claim(resource: Resource) -> Claim | None:
    """Return the claim to the PostgreSQL database that a Secret names, or None: it uses SQLite."""
    if resource.spec.postgres is None:
        return None
    reference = resource.spec.postgres.secret_ref
    return ("database", resource.namespace, reference.name, reference.key)


def claims_of(resource: Resource) -> frozenset[Claim]:
    """Return everything that `resource` claims for itself alone."""
    return frozenset(filter(None, (host_claim(resource), database_claim(resource))))


def age(resource: Resource) -> tuple[str, str, str]:
    """Return what orders resources from old to young; equal ages are told apart by namespace and name."""
    return resource.created, resource.namespace, resource.name


class Claims:
    """Every resource by what it claims, so that finding a rival looks at its rivals only."""

    def __init__(self) -> None:
        self._claimants: defaultdict[Claim, dict[Key, Resource]] = defaultdict(dict)
        self._claims: dict[Key, frozenset[Claim]] = {}

    def update(self, key: Key, resource: Resource | None) -> set[Key]:
        """Take in a resource as it is now (None: gone); return whose situation may have changed by it."""
        before = self._claims.pop(key, frozenset())
        after = claims_of(resource) if resource else frozenset()
        for claim in before - after:
            del self._claimants[claim][key]
        if resource:
            self._claims[key] = after
            for claim in after:
                self._claimants[claim][key] = resource
        affected = {other for claim in before ^ after for other in self._claimants[claim]} - {key}
        for claim in before - after:
            if not self._claimants[claim]:
                del self._claimants[claim]
        return affected

    def owner(self, claim: Claim | None, resource: Resource) -> Resource | None:
        """Return the older resource that has what `resource` claims, or None: `resource` has it itself."""
        if claim is None:
            return None
        oldest = min(self._claimants.get(claim, {}).values(), key=age, default=resource)
        return oldest if age(oldest) < age(resource) else None


@dataclass(frozen=True)
class Block:
    """Something that keeps children from being as the specification wants them, until its cause is gone."""

    condition: Type
    reason: Reason
    message: str
    holds: frozenset[Child] = frozenset()
    """Children to leave exactly as they are: not made, not changed, not deleted."""
    removes: frozenset[Child] = frozenset()
    """Children that the resource may not have meanwhile."""


def find(resource: Resource, claims: Claims) -> list[Block]:
    """Return what an older resource has already that `resource` claims too."""
    blocks = []
    if other := claims.owner(host_claim(resource), resource):
        blocks.append(
            Block(
                Type.EXPOSED,
                Reason.HOST_TAKEN,
                f"The older DumbKV {other.namespace}/{other.name} has the host {resource.spec.ingress.host}: "
                "set another spec.ingress.host here, or spec.ingress.enabled to false.",
                removes=frozenset((INGRESS, HTTP_ROUTE)),
            )
        )
    if other := claims.owner(database_claim(resource), resource):
        blocks.append(
            Block(
                Type.DATABASE_READY,
                Reason.DATABASE_TAKEN,
                f"The older DumbKV {other.namespace}/{other.name} uses the same database, from the same "
                "Secret: give this resource a database and a Secret of its own.",
                holds=frozenset((DEPLOYMENT,)),
            )
        )
    return blocks


def foreign(resource: Resource, observed: Mapping[Child, Object | None]) -> list[Block]:
    """Return the objects that have a child's name but are no child of `resource`."""
    blocks = []
    for child, item in observed.items():
        if item is None or is_ours(item, resource):
            continue
        holds = frozenset((child, DEPLOYMENT) if child.retained else (child,))
        if child is PEPPER_SECRET:
            holds |= NEED_PEPPERS
        what = f"{child.kind} {child.name(resource.name)}"
        if _predecessors(item, resource):
            reason, message = (
                Reason.DELETION_PENDING,
                f"{what} of an earlier resource is still being deleted.",
            )
        else:
            reason, message = Reason.FOREIGN_OWNER, _foreign_message(what, item, resource)
        blocks.append(Block(condition_of(child), reason, message, holds=holds))
    return blocks


def condition_of(child: Child) -> Type:
    """Return the condition that speaks of `child`."""
    return {
        CLAIM: Type.STORAGE_READY,
        PEPPER_SECRET: Type.DATABASE_READY,
        INGRESS: Type.EXPOSED,
        HTTP_ROUTE: Type.EXPOSED,
        SERVICE_MONITOR: Type.MONITORED,
    }.get(child, Type.WORKLOAD_READY)


def _predecessors(item: Object, resource: Resource) -> bool:
    references = item["metadata"].get("ownerReferences") or ()
    return any(
        reference.get("controller") and reference["kind"] == names.KIND and reference["name"] == resource.name
        for reference in references
    )


def _foreign_message(what: str, item: Object, resource: Resource) -> str:
    references = item["metadata"].get("ownerReferences") or ()
    owner = next((reference for reference in references if reference.get("controller")), None)
    if owner:
        return f"{what} belongs to {owner['kind']} {owner['name']}: rename this resource, or remove that one."
    return (
        f"{what} was not made by this operator: delete or rename it, or, to have it adopted with what it "
        f"holds, label it {names.LABEL_OWNER}={resource.name}."
    )
