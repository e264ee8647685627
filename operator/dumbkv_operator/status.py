"""The status of a resource: one write, and only when something is said that was not said before."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from dumbkv_operator import events, metrics
from dumbkv_operator.client import ApiError, Client, Object
from dumbkv_operator.cluster import DUMBKV, Cluster
from dumbkv_operator.conditions import Condition
from dumbkv_operator.informer import Key, key_of
from dumbkv_operator.reasons import Type


def merge(
    computed: Sequence[Condition], before: Iterable[dict[str, Any]], generation: int, now: str
) -> list[dict[str, Any]]:
    """Return the conditions to publish, given those that are published and the time `now` (RFC 3339).

    The time of a transition changes with the status only. A drift that was corrected in this generation stays
    mentioned until the next one.
    """
    published = {condition["type"]: condition for condition in before}
    result = []
    for condition in computed:
        old = published.get(condition.type, {})
        same = old.get("status") == condition.status
        result.append(
            {
                "type": str(condition.type),
                "status": condition.status,
                "reason": str(condition.reason),
                "message": condition.message,
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if same else now,
            }
        )
    drift = published.get(Type.DRIFT_CORRECTED)
    if (
        drift
        and drift.get("observedGeneration") == generation
        and Type.DRIFT_CORRECTED not in _types(computed)
    ):
        result.append(drift)
    return result


def _types(conditions: Iterable[Condition]) -> set[str]:
    return {condition.type for condition in conditions}


def differs(wanted: Object, published: Object) -> bool:
    """Return whether a merge patch with `wanted` would change `published`; None in it means absent."""
    return any(published.get(name) != value for name, value in wanted.items())


class Publisher:
    """Writes status, and tells metrics and events of what changed in it."""

    def __init__(self, client: Client, cluster: Cluster, recorder: events.Recorder) -> None:
        self._client = client
        self._cluster = cluster
        self._recorder = recorder
        self._recorded: dict[Key, set[str]] = {}
        self._unready_since: dict[Key, float] = {}

    async def publish(
        self, body: Object, conditions: Sequence[Condition], rest: Object | None = None
    ) -> None:
        """Make `conditions`, and the fields `rest`, the status of `body`; fields that are None are removed.

        Raises ApiError where the status was refused. A resource that has gone meanwhile is no error.
        """
        key = key_of(body)
        published: Object = body.get("status") or {}
        before = published.get("conditions") or []
        generation = body["metadata"]["generation"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        wanted: Object = {
            "observedGeneration": generation,
            **(rest or {}),
            "conditions": merge(conditions, before, generation, now),
        }
        self._record(key, wanted["conditions"])
        if not differs(wanted, published):
            return
        try:
            written = await self._client.patch_status(DUMBKV, *key, wanted)
        except ApiError as error:
            if error.status == 404:
                return
            raise
        self._cluster.take_body(written)
        for event in events.of_transition(before, wanted["conditions"]):
            await self._recorder.send(body, event)

    def forget(self, key: Key) -> None:
        """Drop the metrics of a resource that is gone."""
        for kind in self._recorded.pop(key, ()):
            metrics.forget_condition(*key, kind)
        self._unready_since.pop(key, None)

    def _record(self, key: Key, conditions: Iterable[dict[str, Any]]) -> None:
        statuses = {condition["type"]: condition["status"] for condition in conditions}
        for kind, status in statuses.items():
            metrics.record_condition(*key, kind, status)
        for kind in self._recorded.get(key, set()) - statuses.keys():
            metrics.forget_condition(*key, kind)
        self._recorded[key] = set(statuses)
        if statuses.get(Type.SUSPENDED) == "True":
            # Nobody waits for it: the time until it is ready counts from when it is resumed.
            self._unready_since.pop(key, None)
        elif statuses[Type.READY] != "True":
            self._unready_since.setdefault(key, time.monotonic())
        elif since := self._unready_since.pop(key, None):
            metrics.TIME_TO_READY.observe(time.monotonic() - since)
