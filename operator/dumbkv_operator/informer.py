"""A store of objects that one watch keeps up to date, as client-go's informers do."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

import aiohttp

from dumbkv_operator import metrics
from dumbkv_operator.client import ApiError, Client, Kind, Object

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace (empty for a cluster-wide kind) and name."""

OnChange = Callable[[Object | None, Object | None], None]
"""Called with the object before and after: None for absent."""

MAX_BACKOFF = 30.0


def key_of(item: Object) -> Key:
    """Return the namespace and name of `item`."""
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def version_of(item: Object) -> int:
    """Return the resource version of `item`: a number that grows with each change of the kind (KEP-5504)."""
    return int(item["metadata"]["resourceVersion"])


class Store:
    """Objects by namespace and name. An older version of an object never replaces a newer one."""

    def __init__(self, on_change: OnChange, trim: Callable[[Object], Object]) -> None:
        self._items: dict[Key, Object] = {}
        self._on_change = on_change
        self._trim = trim

    def get(self, namespace: str, name: str) -> Object | None:
        """Return the object as it was last seen, or None."""
        return self._items.get((namespace, name))

    def put(self, item: Object) -> None:
        """Take in `item`: from the watch, or from the answer to a write, which is often sooner."""
        key = key_of(item)
        before = self._items.get(key)
        if before is not None and version_of(before) >= version_of(item):
            return
        self._items[key] = after = self._trim(item)
        self._on_change(before, after)

    def remove(self, item: Object) -> None:
        """Drop `item`, unless a newer one of the same name has come already."""
        before = self._items.get(key_of(item))
        if before is not None and version_of(before) <= version_of(item):
            del self._items[key_of(item)]
            self._on_change(before, None)

    def replace(self, items: list[Object], namespace: str | None, version: str) -> None:
        """Take in a whole list, made at `version`; what is not in it any more was deleted meanwhile."""
        for item in items:
            self.put(item)
        present = {key_of(item) for item in items}
        for key, before in list(self._items.items()):
            served = namespace is None or key[0] == namespace
            if served and key not in present and version_of(before) <= int(version):
                del self._items[key]
                self._on_change(before, None)

    def clear(self) -> None:
        """Drop everything: the kind is not there any more."""
        for item in list(self._items.values()):
            self.remove(item)


class Informer:
    """One list and watch, forever, into a store."""

    def __init__(
        self,
        client: Client,
        kind: Kind,
        store: Store,
        *,
        namespace: str | None = None,
        query: Mapping[str, str] | None = None,
        metadata_only: bool = False,
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self._client = client
        self._store = store
        self._namespace = namespace
        self._query = dict(query or {})
        self._metadata_only = metadata_only

    async def run(self) -> None:
        """List, then watch; list again after 410 Gone; wait between failures. Only cancellation ends it."""
        failures = 0
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                    self.synced.set()
                async for event, item in self._client.watch(
                    self.kind, self._namespace, version, self._query, metadata_only=self._metadata_only
                ):
                    failures = 0
                    version = item["metadata"]["resourceVersion"]
                    self._take(event, item)
            except ApiError as error:
                version = ""
                if error.status != 410:
                    logger.warning("Watching %s failed, it is started again: %s", self.kind.plural, error)
            except (aiohttp.ClientError, TimeoutError) as error:
                logger.warning("Watching %s was cut off, it goes on: %r", self.kind.plural, error)
            else:
                continue
            metrics.WATCH_RESTARTS.labels(self.kind.name).inc()
            await asyncio.sleep(min(MAX_BACKOFF, 0.2 * 2**failures) * random.uniform(0.5, 1))  # noqa: S311
            failures += 1

    async def _list(self) -> str:
        items, version = await self._client.list(
            self.kind, self._namespace, self._query, metadata_only=self._metadata_only
        )
        self._store.replace(items, self._namespace, version)
        return version

    def _take(self, event: str, item: Object) -> None:
        if event in ("ADDED", "MODIFIED"):
            self._store.put(item)
        elif event == "DELETED":
            self._store.remove(item)
