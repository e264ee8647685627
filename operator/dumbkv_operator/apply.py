"""Server-side apply and deletion: the only place that writes children."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import aiohttp

from dumbkv_operator import drift, metrics, names
from dumbkv_operator.children import BINDING_SECRET, CLAIM, DEPLOYMENT, PEPPER_SECRET, Child, Manifest
from dumbkv_operator.client import ApiError, Client, Kind, Object
from dumbkv_operator.quantity import amount
from dumbkv_operator.spec import Resource

logger = logging.getLogger(__name__)

MAX_NAMED_FIELDS: Final = 8
INVALID: Final = 422

NEED_PEPPERS: Final = frozenset((CLAIM, DEPLOYMENT, BINDING_SECRET))
"""Children that are not made before the peppers are there. The claim and the binding are signs of data: with
them, peppers that are not there count as lost, and no others are ever generated."""


class Action(StrEnum):
    """What has to be done to a child."""

    CREATE = "create"
    UPDATE = "update"
    """The specification, or the operator, wants it otherwise than when it was last applied."""
    REPAIR = "repair"
    """Somebody changed or deleted it since it was last applied."""
    DELETE = "delete"


@dataclass(frozen=True)
class Change:
    """One child that is not as it should be."""

    child: Child
    action: Action
    manifest: Manifest | None
    """The stamped manifest to apply; None to delete."""
    observed: Object | None
    fields: tuple[str, ...] = ()
    """What differs; empty where the whole child is absent, or not wanted."""

    def __str__(self) -> str:
        """Return the change for a reader: `update Deployment web (spec.replicas)`."""
        name = (self.manifest or self.observed or {})["metadata"]["name"]
        text = f"{self.action} {self.child.kind} {name}"
        return f"{text} ({self.named_fields})" if self.fields else text

    @property
    def named_fields(self) -> str:
        """The fields that differ, shortened when there are many."""
        shown = ", ".join(self.fields[:MAX_NAMED_FIELDS])
        more = len(self.fields) - MAX_NAMED_FIELDS
        return f"{shown} and {more} more" if more > 0 else shown


@dataclass
class Outcome:
    """What came of the changes."""

    observed: dict[Child, Object | None]
    """The children as they are now: the answers to the writes where there were any."""
    done: list[Change] = field(default_factory=list)
    pending: list[Change] = field(default_factory=list)
    """What would have been done, were the resource not paused."""
    failures: dict[Child, str] = field(default_factory=dict)
    """Why a child could not be written, in the API server's words."""

    def has(self, child: Child, desired: Mapping[Child, Manifest | None]) -> bool:
        """Return whether a child is there where it is wanted, and was written without failure."""
        there = self.observed.get(child) is not None or desired.get(child) is None
        return there and child not in self.failures

    @property
    def repairs(self) -> list[Change]:
        """The changes that undid what somebody else had done."""
        return [change for change in self.done if change.action is Action.REPAIR]


def kind_of(child: Child) -> Kind:
    """Return the kind of `child` as the client addresses it."""
    return Kind(child.api_version, child.plural, child.kind)


def owner_uid(item: Object) -> str | None:
    """Return the uid of the object's controller, or None: it has none."""
    references = item["metadata"].get("ownerReferences") or ()
    return next((reference["uid"] for reference in references if reference.get("controller")), None)


def is_ours(item: Object, resource: Resource) -> bool:
    """Return whether an object that has a child's name is the child of `resource`.

    It is when the resource controls it, or when nobody does and its labels say so: data outlives its owner.
    """
    if uid := owner_uid(item):
        return uid == resource.uid
    labels = item["metadata"].get("labels") or {}
    if labels.get(names.LABEL_OWNER) == resource.name:
        return True
    expected = names.labels(resource.name)
    return all(
        labels.get(label) == expected[label] for label in (names.LABEL_INSTANCE, names.LABEL_MANAGED_BY)
    )


def settle(manifest: Manifest, observed: Object, *, expandable: bool) -> Manifest:
    """Return a claim's manifest without what the API server would refuse on the claim that exists.

    Only its size can change, only upwards, and only where its class allows. A claim that was kept from an
    earlier resource keeps its class and access modes.
    """
    kept = observed["spec"]
    wanted = manifest["spec"]["resources"]["requests"]["storage"]
    had = kept["resources"]["requests"]["storage"]
    grows = expandable and amount(wanted) > amount(had)
    spec = {**manifest["spec"], "resources": {"requests": {"storage": wanted if grows else had}}}
    spec.update({name: kept[name] for name in ("storageClassName", "accessModes") if name in kept})
    return {**manifest, "spec": spec}


def plan(
    desired: Mapping[Child, Manifest | None],
    observed: Mapping[Child, Object | None],
    *,
    lost: Collection[Child],
    expandable: bool,
) -> list[Change]:
    """Return what has to be done so that `observed` becomes `desired`, in the order of `desired`.

    `lost` are the children that somebody deleted; `expandable` is whether the claim's class can enlarge it.
    """
    changes = []
    for child, wanted in desired.items():
        found = observed.get(child)
        manifest = wanted
        if manifest is not None and found is not None and child is CLAIM:
            manifest = settle(manifest, found, expandable=expandable)
        if change := _change(child, manifest, found, lost=child in lost):
            changes.append(change)
    return changes


def _change(child: Child, wanted: Manifest | None, found: Object | None, *, lost: bool) -> Change | None:
    if found is not None and found["metadata"].get("deletionTimestamp"):
        return None  # Its end, which the watch reports, comes first.
    if wanted is None:
        # Data is never deleted because a specification stopped asking for it.
        return Change(child, Action.DELETE, None, found) if found is not None and not child.retained else None
    manifest = drift.stamp(wanted)
    if found is None:
        return Change(child, Action.REPAIR if lost else Action.CREATE, manifest, None)
    fields = tuple(drift.differences(wanted, found))
    if drift.stamped(found) != drift.digest(wanted):
        return Change(child, Action.UPDATE, manifest, found, fields)
    return Change(child, Action.REPAIR, manifest, found, fields) if fields else None


async def carry_out(
    client: Client, changes: list[Change], observed: Mapping[Child, Object | None], *, paused: bool
) -> Outcome:
    """Do all `changes`, or none of them when paused, and return what came of it.

    Data comes first and one by one, since the pod needs it; the rest goes at once. Where the peppers cannot
    be written, what needs them is left as it is.
    """
    outcome = Outcome(dict(observed))
    if paused:
        outcome.pending = list(changes)
        return outcome

    def possible(change: Change) -> bool:
        return PEPPER_SECRET not in outcome.failures or change.child not in NEED_PEPPERS

    for change in changes:
        if change.child.retained and possible(change):
            await _carry_out(client, change, outcome)
    rest = [change for change in changes if not change.child.retained and possible(change)]
    await asyncio.gather(*(_carry_out(client, change, outcome) for change in rest))
    return outcome


async def _carry_out(client: Client, change: Change, outcome: Outcome) -> None:
    try:
        outcome.observed[change.child] = await _write(client, change)
    except ApiError as error:
        outcome.failures[change.child] = error.message
    except (aiohttp.ClientError, TimeoutError) as error:
        outcome.failures[change.child] = f"the API server was not reached: {error!r}"
    else:
        outcome.done.append(change)
        logger.info("%s in %s", change, (change.manifest or change.observed or {})["metadata"]["namespace"])
        if change.action is Action.REPAIR:
            metrics.DRIFT_CORRECTED.labels(change.child.kind).inc()


async def _write(client: Client, change: Change) -> Object | None:
    kind = kind_of(change.child)
    if change.manifest is None:
        found = (change.observed or {})["metadata"]
        await client.delete(kind, found["namespace"], found["name"], found["uid"])
        return None
    if change.observed is None and change.child.retained and change.child.kind == "Secret":
        # Generated secrets are created, not applied: of two operators that both believe to lead, only one
        # may win, or a server could go on with peppers that the other has overwritten. Only the apply that
        # follows sets the owner, so that it can also take it away again.
        bare = {
            name: value for name, value in change.manifest["metadata"].items() if name != "ownerReferences"
        }
        await client.create(kind, {**change.manifest, "metadata": bare})
    try:
        return await client.apply(kind, change.manifest)
    except ApiError as error:
        if error.status != INVALID or change.observed is None or "spec" not in change.manifest:
            raise
    # An apply leaves what another writer set beside ours, and the two can exclude each other: a Deployment's
    # rollingUpdate and Recreate, two sources of one volume, two ports of one name. Then ours takes the place
    # of theirs: a merge patch replaces lists whole, and its nulls take fields away.
    metadata = change.manifest["metadata"]
    await client.patch(kind, metadata["namespace"], metadata["name"], {"spec": change.manifest["spec"]})
    return await client.apply(kind, change.manifest)
