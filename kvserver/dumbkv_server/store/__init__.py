"""The one interface to a database. No HTTP and no cryptography: addresses in, sealed bytes out."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import cast

from msgspec import Struct

from dumbkv_server.metrics import Metrics

from .batching import Batcher
from .transfer import Imported, Record, Snapshot

log = logging.getLogger(__name__)
RETRY_AFTER_SECONDS = 1
# Reasons in the log for one failure of the database, however long it lasts.
REASONS_TOLD = 20
# A batch of reads is answered from memory at once, and each value may have a mebibyte.
READS_AT_ONCE = 64
# Few enough that the writes behind them hardly wait.
SWEPT_AT_ONCE = 500


class StoreStartError(Exception):
    """The database cannot be used as it was given. The message is one line and says what to do."""


class StoreUnavailableError(Exception):
    """The database did not answer. `unknown`: the write may or may not have been committed."""

    def __init__(self, reason: str, *, unknown: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unknown = unknown


class Address(Struct, frozen=True):
    """Every place where one key's row may be: `row_ids` newest pepper first, then the original DumbKV's."""

    database: int
    row_ids: tuple[bytes, ...]
    legacy_key: str


class Row(Struct, frozen=True):
    """A stored row. `expires_at` is in milliseconds since 1970, or None for a row that stays."""

    row_id: bytes
    revision: int
    expires_at: int | None
    blob: bytes


class LegacyRow(Struct, frozen=True):
    """A row of the original DumbKV. It has no revision until it is rewritten."""

    token: str


Found = Row | LegacyRow


class Condition(Struct, frozen=True):
    """What must be stored for a write to be made: a row with this revision, or, with None, nothing."""

    revision: int | None

    def holds(self, current: Found | None) -> bool:
        """Whether it does. A row of the original DumbKV has no revision yet, so it equals none."""
        if self.revision is None:
            return current is None
        return isinstance(current, Row) and current.revision == self.revision


class Get(Struct, frozen=True):
    """Look a key up inside a transaction."""

    address: Address


class Put(Struct, frozen=True):
    """Store `blob` under the address' first row id and remove the key from every other place.

    `expires_at` is in milliseconds since 1970, or None.
    """

    address: Address
    blob: bytes
    expires_at: int | None = None
    condition: Condition | None = None


class Delete(Struct, frozen=True):
    """Remove the key from every place."""

    address: Address
    condition: Condition | None = None


KeyOperation = Get | Put | Delete


class Transaction(Struct, frozen=True):
    """Several operations, all or none of which are done; what its gets find has at most `answer_bytes`."""

    operations: tuple[KeyOperation, ...]
    answer_bytes: int


class Rewrite(Struct, frozen=True):
    """Move what was found to the address' first row id, if it is still what is stored.

    The row keeps its revision and its expiry, as its value is the same; a legacy row gets its first revision.
    """

    address: Address
    found: Found
    blob: bytes


class Conflict(Struct, frozen=True):
    """A condition that did not hold: the index of its operation in its transaction."""

    index: int


class Excess(Struct, frozen=True):
    """What the gets of a transaction found has more bytes than it may."""


class AnswerTooLargeError(Exception):
    """A transaction's gets found more than its `answer_bytes`, and nothing was changed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the values have more than {limit} bytes")
        self.limit = limit


class ConditionError(Exception):
    """A condition did not hold, and nothing was changed. `index` is the operation's place in its batch."""

    def __init__(self, index: int) -> None:
        super().__init__(f"the condition of operation {index} does not hold")
        self.index = index


class Counts(Struct, frozen=True):
    """How many keys there are: by database where it has any, and by each pepper that may have rows."""

    databases: dict[int, int]
    peppers: dict[int, int]


Operation = KeyOperation | Transaction | Rewrite
Result = int | bool | Found | None
Outcome = Result | Conflict | Excess | tuple[Result, ...]


def alive(found: Found | None, now: int) -> Found | None:
    """What was found, or None where it has expired by `now` (milliseconds since 1970)."""
    expired = isinstance(found, Row) and found.expires_at is not None and found.expires_at <= now
    return None if expired else found


def milliseconds() -> int:
    """The time, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Store(ABC):
    """A database behind two batchers: reads never queue behind writes, and writes share commits."""

    def __init__(self, metrics: Metrics, *, max_waiting_writes: int, readers: int = 1) -> None:
        self.metrics = metrics
        self._failure: str | None = None
        self._told: set[str] = set()
        self.broken = asyncio.Event()
        """Set when only a restart of the process can help."""
        self._writes = Batcher[Operation, Outcome](self._commit, limit=max_waiting_writes)
        metrics.watch_write_queue(self._writes.waiting)
        self._reads = Batcher[Address | None, Found | None](
            self._read, workers=readers, at_once=READS_AT_ONCE
        )

    @property
    def fatal(self) -> bool:
        """Whether only a restart of the process can help."""
        return False

    async def get(self, address: Address) -> Found | None:
        """What is stored for this key, under the newest pepper that has it."""
        found = await self._reads.submit(address)
        return found if found is None else alive(found, milliseconds())

    async def put(self, operation: Put) -> int:
        """Store a value; once this returns its revision, it is on disk. ConditionError: it may not be."""
        return cast("int", await self._write(operation))

    async def delete(self, operation: Delete) -> bool:
        """Remove a key; whether there was one. ConditionError where it may not be removed."""
        return cast("bool", await self._write(operation))

    async def transact(self, operations: Sequence[KeyOperation], answer_bytes: int) -> tuple[Result, ...]:
        """All or none of these, in order: what each returns. ConditionError: which cannot be done.

        AnswerTooLargeError where what the gets find has more than `answer_bytes` as it is stored.
        """
        outcome = await self._write(Transaction(tuple(operations), answer_bytes))
        if isinstance(outcome, Excess):
            raise AnswerTooLargeError(answer_bytes)
        return cast("tuple[Result, ...]", outcome)

    async def rewrite(self, address: Address, found: Found, blob: bytes) -> int | None:
        """Move a row under the newest pepper: its revision, or None where it changed meanwhile."""
        return cast("int | None", await self._write(Rewrite(address, found, blob)))

    async def _write(self, operation: Operation) -> Outcome:
        outcome = await self._writes.submit(operation)
        if isinstance(outcome, Conflict):
            raise ConditionError(outcome.index)
        return outcome

    async def sweep(self) -> int:
        """Delete expired rows, at most SWEPT_AT_ONCE: how many. Nothing is written where there are none."""
        now = milliseconds()
        return await self._delete_expired(now) if await self._has_expired(now) else 0

    async def check(self) -> None:
        """Ask the database; StoreUnavailableError says why it cannot serve.

        After a failure this tries a commit of nothing: so readiness comes back with the database, and not
        only with the next client that dares to write.
        """
        if self._failure is not None:
            await self._commit([])
        await self._reads.submit(None)

    @abstractmethod
    async def open(self) -> None:
        """Make the database ready; StoreStartError where it can never be."""

    async def close(self) -> None:
        """Finish what waits, then let go of the database."""
        await self._writes.close()
        await self._reads.close()

    def _failed(self, reason: str) -> None:
        """Remember why the database does not serve, and say each reason once: the first may hide another."""
        if reason not in self._told and len(self._told) < REASONS_TOLD:
            self._told.add(reason)
            log.error("the database failed: %s", reason)
        self._failure = reason
        self.metrics.database_up.set(0)

    def _works(self) -> None:
        """Forget a failure that is over, and say so."""
        if self._failure is not None:
            log.warning("the database serves again")
            self._told.clear()
        self._failure = None
        self.metrics.database_up.set(1)

    @property
    @abstractmethod
    def has_legacy(self) -> bool:
        """Whether there is a table of the original DumbKV: its rows have no revision until they are read."""

    @abstractmethod
    async def admit(self, fingerprints: Mapping[int, bytes]) -> None:
        """Use these peppers from now on, and record durably that rows will be under the first of them.

        StoreStartError where the database needs others: then the former ones stay. No operation may be under
        way, as its address has the places of the former ones.
        """

    @abstractmethod
    async def counts(self) -> Counts:
        """How many keys there are; what expired does not count."""

    @abstractmethod
    async def drop(self, database: int) -> int:
        """Delete all keys of a database in one transaction: how many there were."""

    @abstractmethod
    def snapshot(self, seconds: float) -> AbstractAsyncContextManager[Snapshot]:
        """The store as it is now, for at most so many seconds. There may be one at a time."""

    @abstractmethod
    async def reserve(self, revisions: int, *, only_empty: bool) -> int:
        """Take so many revisions for an import, after the one that is returned: none of them is used else.

        NotEmptyError where the store has keys and must not; LegacyRowsError; NotReservedError where there are
        not so many revisions left.
        """

    @abstractmethod
    async def load(self, records: Sequence[Record], *, replace: bool) -> Imported:
        """Store rows in one durable transaction; a key that is there stays, unless it is to be replaced.

        LegacyRowsError; NotReservedError where a revision was not reserved.
        """

    @abstractmethod
    async def _has_expired(self, now: int) -> bool:
        """Whether a row has expired."""

    @abstractmethod
    async def _delete_expired(self, now: int) -> int:
        """Delete at most SWEPT_AT_ONCE rows that have expired: how many."""

    @abstractmethod
    async def _commit(self, batch: Sequence[Operation]) -> Sequence[Outcome]:
        """Do all operations in one durable transaction."""

    @abstractmethod
    async def _read(self, batch: Sequence[Address | None]) -> Sequence[Found | None]:
        """Look up all addresses; None only asks whether the database answers."""
