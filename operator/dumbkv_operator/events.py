"""Kubernetes Events on a resource, for `kubectl describe`: few, and only when its state changes."""

import logging
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp

from dumbkv_operator import names
from dumbkv_operator.client import ApiError, Client, Kind, Object
from dumbkv_operator.reasons import Reason, Type

logger = logging.getLogger(__name__)

EVENT: Final = Kind("events.k8s.io/v1", "events", "Event")
MAX_NOTE: Final = 1024
"""In bytes: the API server's limit."""

PROGRESS: Final = frozenset(
    {
        Reason.ROLLING_OUT,
        Reason.CLAIM_PENDING,
        Reason.ADDRESS_PENDING,
        Reason.ROUTE_PENDING,
        Reason.DELETION_PENDING,
        Reason.RESIZING,
        Reason.WAITING,
        Reason.CONNECTING,
        Reason.DISABLED,
        Reason.SUSPENDED,
        Reason.CHANGES_PENDING,
    }
)
"""Reasons that are a step on the way, or what was asked for: nothing to warn of."""


@dataclass(frozen=True)
class Event:
    """What happened. `warning` is whether somebody may have to act."""

    reason: str
    note: str
    warning: bool = False


def of_transition(before: Iterable[dict[str, Any]], after: Iterable[dict[str, Any]]) -> Iterator[Event]:
    """Yield what is worth an event in the change from the conditions `before` to `after`."""
    published = {condition["type"]: condition for condition in before}
    for condition in after:
        old = published.get(condition["type"], {})
        kind, status, reason = condition["type"], condition["status"], condition["reason"]
        if kind == Type.READY:
            # What keeps it back is told by the condition that it sums up.
            if status == "True" and old.get("status") != "True":
                yield Event(reason, condition["message"])
        elif kind == Type.DRIFT_CORRECTED:
            if condition != old:
                yield Event(kind, condition["message"], warning=True)
        elif status == "False" and reason not in PROGRESS and old.get("reason") != reason:
            yield Event(reason, condition["message"], warning=True)


class Recorder:
    """Sends events. One that cannot be sent is logged and given up: nothing may depend on an event."""

    def __init__(self, client: Client, identity: str) -> None:
        self._client = client
        self._identity = identity

    async def send(self, body: Object, event: Event) -> None:
        """Record `event` on the resource `body`."""
        metadata = body["metadata"]
        manifest = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {
                "name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}",
                "namespace": metadata["namespace"],
            },
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": f"{names.GROUP}/{names.FIELD_MANAGER}",
            "reportingInstance": self._identity[:128],
            "action": "Reconcile",
            "type": "Warning" if event.warning else "Normal",
            "reason": event.reason,
            "note": event.note.encode()[:MAX_NOTE].decode(errors="ignore"),
            "regarding": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
        }
        try:
            await self._client.create(EVENT, manifest)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            logger.warning("An event on %s was not recorded: %s", metadata["name"], error)
