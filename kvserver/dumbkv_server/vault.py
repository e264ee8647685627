"""Secrets in, secrets out: seals before the store and opens after it. No HTTP and no SQL."""

import logging
from collections.abc import Sequence
from typing import cast

from msgspec import Struct

from .crypto import CannotOpenError, Keyring, Locator, Pepper, legacy_row_key, open_legacy
from .passage import Passage
from .store import (
    Address,
    Condition,
    Counts,
    Delete,
    Found,
    Get,
    KeyOperation,
    Put,
    Row,
    Store,
    StoreUnavailableError,
    milliseconds,
)
from .store.batching import ClosingError, QueueFullError

log = logging.getLogger(__name__)


class Entry(Struct, frozen=True):
    """One key's value. `expires_at` is in milliseconds since 1970, or None."""

    value: str
    revision: int
    expires_at: int | None


class Read(Struct, frozen=True):
    """Get a key's value."""

    database: int
    key: str


class Write(Struct, frozen=True):
    """Store a value, for `ttl` seconds or for good, if the condition holds."""

    database: int
    key: str
    value: str
    ttl: float | None = None
    condition: Condition | None = None


class Remove(Struct, frozen=True):
    """Delete a key, if the condition holds."""

    database: int
    key: str
    condition: Condition | None = None


class Vault:
    """Keys and values in the clear on this side, addresses and blobs on the store's."""

    def __init__(self, keyring: Keyring, store: Store) -> None:
        self._keyring = keyring
        self._store = store
        self._passage = Passage()

    async def use(self, peppers: tuple[Pepper, ...]) -> None:
        """Go on with other peppers, once the store has recorded them; StoreStartError where it needs others.

        No operation is under way meanwhile: each knows the places of one set of peppers only.
        """
        async with self._passage.alone():
            keyring = Keyring(peppers)
            await self._store.admit(keyring.fingerprints())
            self._keyring = keyring

    async def put(self, write: Write) -> int:
        """Store a value under the newest pepper; its revision, once it is durable."""
        if self._passage.closed:
            await self._passage.opened()
        with self._passage:
            return await self._store.put(self._sealed(write))

    async def delete(self, remove: Remove) -> bool:
        """Remove a key, wherever it is; whether there was one."""
        if self._passage.closed:
            await self._passage.opened()
        with self._passage:
            return await self._store.delete(self._addressed(remove))

    async def get(self, read: Read) -> Entry | None:
        """A key's value, or None. What is found in an old place is moved to the newest.

        Raises CannotOpenError where the stored value is not what was stored.
        """
        if self._passage.closed:
            await self._passage.opened()
        with self._passage:
            return await self._get(read)

    async def _get(self, read: Read) -> Entry | None:
        locators, address = self._locate(read.database, read.key)
        while (found := await self._store.get(address)) is not None:
            value = self._open(found, address, locators)
            if isinstance(found, Row) and found.row_id == address.row_ids[0]:
                return Entry(value.decode(), found.revision, found.expires_at)
            revision = await self._rewrite(address, found, locators[0].seal(value))
            if revision is not None:
                return Entry(value.decode(), revision, found.expires_at if isinstance(found, Row) else None)
            # Somebody wrote or deleted this key since it was read: look again.
        return None

    async def batch(
        self, calls: Sequence[Read | Write | Remove], answer_bytes: int
    ) -> list[Entry | int | bool | None]:
        """Do all or none of these, in order: for each what `get`, `put` or `delete` returns.

        AnswerTooLargeError where the values that are got have more than `answer_bytes` as they are stored.
        """
        if self._passage.closed:
            await self._passage.opened()
        with self._passage:
            return await self._batch(calls, answer_bytes)

    async def _batch(
        self, calls: Sequence[Read | Write | Remove], answer_bytes: int
    ) -> list[Entry | int | bool | None]:
        if self._store.has_legacy:
            # Rows of the original DumbKV get a revision before: a transaction cannot seal what it finds.
            for call in calls:
                if isinstance(call, Read):
                    await self._get(call)
        operations = [self._operation(call) for call in calls]
        results = await self._store.transact(operations, answer_bytes)
        return [
            self._entry(call, cast("Found | None", result))
            if isinstance(call, Read)
            else cast("int | bool", result)
            for call, result in zip(calls, results, strict=True)
        ]

    async def counts(self) -> Counts:
        """How many keys there are, by database and by pepper."""
        return await self._store.counts()

    async def drop(self, database: int) -> int:
        """Delete all keys of a database: how many there were."""
        return await self._store.drop(database)

    def _operation(self, call: Read | Write | Remove) -> KeyOperation:
        match call:
            case Read():
                return Get(self._locate(call.database, call.key)[1])
            case Write():
                return self._sealed(call)
            case Remove():
                return self._addressed(call)

    def _sealed(self, write: Write) -> Put:
        locators, address = self._locate(write.database, write.key)
        expires_at = None if write.ttl is None else milliseconds() + max(1, int(write.ttl * 1000))
        return Put(address, locators[0].seal(write.value.encode()), expires_at, write.condition)

    def _addressed(self, remove: Remove) -> Delete:
        return Delete(self._locate(remove.database, remove.key)[1], remove.condition)

    def _entry(self, read: Read, found: Found | None) -> Entry | None:
        if found is None:
            return None
        locators, address = self._locate(read.database, read.key)
        value = self._open(found, address, locators).decode()
        if not isinstance(found, Row):
            raise StoreUnavailableError("the original DumbKV still writes to this database: stop it")
        return Entry(value, found.revision, found.expires_at)

    def _locate(self, database: int, key: str) -> tuple[tuple[Locator, ...], Address]:
        locators = self._keyring.locate(database, key)
        row_ids = tuple([locator.row_id for locator in locators])
        return locators, Address(database, row_ids, legacy_row_key(key) if self._store.has_legacy else "")

    async def _rewrite(self, address: Address, found: Found, blob: bytes) -> int | None:
        try:
            return await self._store.rewrite(address, found, blob)
        except (QueueFullError, ClosingError, StoreUnavailableError):
            # A row under an old pepper has all that an answer needs; a legacy row lacks its revision.
            if isinstance(found, Row):
                return found.revision
            raise

    def _open(self, found: Found, address: Address, locators: tuple[Locator, ...]) -> bytes:
        try:
            if not isinstance(found, Row):
                return open_legacy(address.legacy_key, found.token)
            return locators[address.row_ids.index(found.row_id)].open(found.blob)
        except CannotOpenError as error:
            self._store.metrics.damaged_values.inc()
            log.error("a value was not answered: %s", error)
            raise
