"""One reconcile: from what is to what should be. It is safe to run at any moment, twice, or after a crash."""

import asyncio
from collections.abc import Iterable

from dumbkv_operator import apply, children, conditions, conflicts, material
from dumbkv_operator.apply import Outcome
from dumbkv_operator.children import CHILDREN, Child, Manifest
from dumbkv_operator.client import Client, Object
from dumbkv_operator.cluster import Cluster
from dumbkv_operator.conflicts import Block
from dumbkv_operator.informer import Key
from dumbkv_operator.queue import Queue, ReconcileError
from dumbkv_operator.reasons import Reason
from dumbkv_operator.settings import Settings
from dumbkv_operator.spec import Resource, SpecError
from dumbkv_operator.status import Publisher


class Reconciler:
    """Brings the children and the status of one resource after the other to what they should be."""

    def __init__(
        self, client: Client, cluster: Cluster, queue: Queue, publisher: Publisher, settings: Settings
    ) -> None:
        self._client = client
        self._cluster = cluster
        self._queue = queue
        self._publisher = publisher
        self._settings = settings

    async def reconcile(self, key: Key) -> None:
        """Reconcile the resource `key`.

        Raises ReconcileError where a child could not be written, which the resource's conditions say too, and
        ApiError where the API server refused something else.
        """
        cluster = self._cluster
        body = cluster.body(key)
        if body is None:
            self._queue.forget(key)
            self._publisher.forget(key)
            return
        try:
            resource = cluster.resource(key)
        except SpecError as error:
            await self._publisher.publish(body, conditions.invalid(str(error)))
            return
        if resource.deleting:
            return  # Its children go after it by their owner references, with or without an operator.

        lost = cluster.lost(key)
        inputs = await material.gather(cluster, resource, lost, self._settings.server_image)
        blocks = [*conflicts.find(resource, cluster.claims), *inputs.blocks]
        desired = children.desired(resource, inputs.context)
        missing = frozenset(
            child for child, manifest in desired.items() if manifest and not cluster.installed(child)
        )
        found = await self._observe(resource, desired)
        blocks += conflicts.foreign(resource, found)
        observed = {
            child: item if item and apply.is_ours(item, resource) else None for child, item in found.items()
        }
        stop = resource.spec.suspended and observed[children.DEPLOYMENT] is not None
        storage_class = cluster.storage_class(resource.spec.storage.storage_class_name)

        changes = apply.plan(
            _without(desired, blocks, missing, stop=stop),
            observed,
            lost=lost,
            expandable=conditions.expandable(storage_class),
        )
        outcome = await apply.carry_out(self._client, changes, observed, paused=resource.spec.paused)
        self._remember(outcome)
        if not resource.spec.paused:
            # Only what was seen lost at the start: somebody may have deleted another child since.
            cluster.forget_lost(
                key, {child: item for child, item in lost.items() if outcome.has(child, desired)}
            )

        facts = conditions.Facts(
            resource, outcome, tuple(blocks), tuple(cluster.pods(key)), storage_class, missing
        )
        await self._publisher.publish(body, conditions.compute(facts), conditions.details(facts))
        if any(block.reason in (Reason.FOREIGN_OWNER, Reason.PEPPER_MISSING) for block in blocks):
            self._queue.put_after(key, self._settings.recheck_seconds)
        if outcome.failures:
            raise ReconcileError("; ".join(outcome.failures.values()))

    async def _observe(
        self, resource: Resource, desired: dict[Child, Manifest | None]
    ) -> dict[Child, Object | None]:
        """Return the children as they are: from the caches, and asked for where a wanted one is not there."""
        wanted = [child for child, manifest in desired.items() if manifest]
        found = await asyncio.gather(*(self._cluster.find(child, resource) for child in wanted))
        return {child: self._cluster.cached(child, resource) for child in CHILDREN} | dict(
            zip(wanted, found, strict=True)
        )

    def _remember(self, outcome: Outcome) -> None:
        for change in outcome.done:
            if (item := outcome.observed[change.child]) is not None:
                self._cluster.take_child(change.child, item)


def _without(
    desired: dict[Child, Manifest | None],
    blocks: Iterable[Block],
    missing: frozenset[Child],
    *,
    stop: bool,
) -> dict[Child, Manifest | None]:
    """Return what of `desired` can be had now: a child that is held is not in it, one to remove is None.

    `stop` is whether there are pods of the resource's own to stop, which is always possible.
    """
    held = missing.union(*(block.holds for block in blocks))
    if stop:
        held -= {children.DEPLOYMENT}
    removed = frozenset[Child]().union(*(block.removes for block in blocks))
    return {
        child: None if child in removed else manifest
        for child, manifest in desired.items()
        if child not in held
    }
