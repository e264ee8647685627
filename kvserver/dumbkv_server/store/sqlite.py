"""SQLite: one thread that writes, one that reads, one process that owns the file.

Durability: WAL with synchronous=FULL, so a commit returns after its frames are on disk. On a local file
system a second connection reads while a commit waits for the disk. Elsewhere (NFS, EFS) WAL's shared memory
does not work; there the one connection locks the file exclusively, keeps the index in its own memory, and
reads take turns with commits.
"""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from dumbkv_server.metrics import Metrics

from . import (
    SWEPT_AT_ONCE,
    Address,
    Found,
    LegacyRow,
    Operation,
    Outcome,
    Row,
    Store,
    StoreOwnedError,
    StoreStartError,
    StoreUnavailableError,
    legacy,
    milliseconds,
    plan,
    schema,
)
from .ownership import OwnedError, Ownership, is_local

log = logging.getLogger(__name__)
Result = TypeVar("Result")

IN_MEMORY = ":memory:"
# Between two looks whether another process has let go of the file.
TAKE_OVER_SECONDS = 0.5
# After these a page may be lost or wrong, and the kernel may have forgotten what it failed to write
# (https://www.sqlite.org/rescode.html); a new process reads again what is really there.
FATAL = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS dumbkv_rows (
        row_id BLOB NOT NULL PRIMARY KEY,
        database INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        expires_at INTEGER,
        blob BLOB NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS dumbkv_meta (
        name TEXT NOT NULL PRIMARY KEY,
        value BLOB NOT NULL
    ) WITHOUT ROWID""",
    """CREATE INDEX IF NOT EXISTS dumbkv_expiry ON dumbkv_rows (expires_at)
    WHERE expires_at IS NOT NULL""",
)
UPSERT = """INSERT INTO dumbkv_rows (row_id, database, revision, expires_at, blob) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (row_id) DO UPDATE SET
    revision = excluded.revision, expires_at = excluded.expires_at, blob = excluded.blob"""
SELECT = "SELECT row_id, revision, expires_at, blob FROM dumbkv_rows WHERE row_id = ?"
DELETE = "DELETE FROM dumbkv_rows WHERE row_id = ?"
HAS_EXPIRED = "SELECT EXISTS (SELECT 1 FROM dumbkv_rows WHERE expires_at <= ?)"
DELETE_EXPIRED = """DELETE FROM dumbkv_rows WHERE row_id IN
    (SELECT row_id FROM dumbkv_rows WHERE expires_at <= ? LIMIT ?)"""
COUNT = """SELECT database, count(*) FROM dumbkv_rows
    WHERE expires_at IS NULL OR expires_at > ? GROUP BY database"""
# What expired is removed first, so that it does not count.
DROP_EXPIRED = "DELETE FROM dumbkv_rows WHERE database = ? AND expires_at <= ?"
DROP = "DELETE FROM dumbkv_rows WHERE database = ?"
SET_META = """INSERT INTO dumbkv_meta (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value"""


class SQLiteStore(Store):
    """A store in one SQLite file, or in memory for tests."""

    def __init__(
        self,
        location: str,
        metrics: Metrics,
        *,
        fingerprints: Mapping[int, bytes],
        max_waiting_writes: int,
        wait_for_owner: bool = False,
    ) -> None:
        super().__init__(metrics, max_waiting_writes=max_waiting_writes)
        self._location = location
        self._fingerprints = fingerprints
        self._wait_for_owner = wait_for_owner
        self._taking_over: asyncio.Task[None] | None = None
        self._opened = False
        self._ownership: Ownership | None = None
        self._write_thread = ThreadPoolExecutor(1, "sqlite-write")
        self._read_thread = ThreadPoolExecutor(1, "sqlite-read")
        self._revision = 0
        self._has_legacy = False
        self._fatal = False

    @property
    def fatal(self) -> bool:
        """Whether a page may be lost or wrong: this process no longer knows what is on disk."""
        return self._fatal

    @property
    def has_legacy(self) -> bool:
        """Whether there is a table of the original DumbKV: its rows have no revision until they are read."""
        return self._has_legacy

    async def open(self) -> None:
        """Take the file, bring its schema up to date, and read the last revision.

        Where another process has it, and it is to be waited for, this returns at once: the file is taken as
        soon as that one has let go of it.
        """
        try:
            await self._take()
        except OwnedError as error:
            if not self._wait_for_owner:
                raise
            self._owned(error)
            self._taking_over = asyncio.create_task(self._take_over())

    async def _take(self) -> None:
        await self._in(self._write_thread, self._open)
        if self._reader is self._connection:
            self._read_thread.shutdown()
            self._read_thread = self._write_thread
        self._opened = True
        self._works()

    async def _take_over(self) -> None:
        """Take the file once its owner has ended, however it ended."""
        while not self._opened:
            await asyncio.sleep(TAKE_OVER_SECONDS)
            try:
                await self._take()
            except OwnedError as error:
                self._owned(error)
            except StoreStartError as error:
                # Another failure than before: the log has it too.
                self._failure, self._fatal = None, True
                self._failed(f"{error}; this process must be restarted")
                return

    def _owned(self, error: OwnedError) -> None:
        self._failed(f"{error.owner} has it; this process takes over as soon as that one has ended")

    async def close(self) -> None:
        """Finish what waits, fold the write-ahead log into the file, and let go of it."""
        if self._taking_over is not None:
            self._taking_over.cancel()
            await asyncio.wait([self._taking_over])
        await super().close()
        await self._in(self._write_thread, self._close)
        self._write_thread.shutdown()
        self._read_thread.shutdown()

    async def databases(self) -> dict[int, int]:
        """How many keys each database has that has any; what expired does not count."""
        return await self._in(self._read_thread, self._count)

    async def drop(self, database: int) -> int:
        """Delete all keys of a database in one transaction: how many there were."""

        def work() -> int:
            self._connection.execute(DROP_EXPIRED, (database, milliseconds()))
            dropped = self._connection.execute(DROP, (database,)).rowcount
            if self._has_legacy:
                dropped += self._connection.execute(legacy.SQLITE_DROP, (database,)).rowcount
            return dropped

        return await self._in(self._write_thread, lambda: self._transaction(work))

    async def _has_expired(self, now: int) -> bool:
        def ask() -> bool:
            return bool(self._reader.execute(HAS_EXPIRED, (now,)).fetchone()[0])

        return await self._in(self._read_thread, lambda: self._snapshot(ask))

    async def _delete_expired(self, now: int) -> int:
        def work() -> int:
            return self._connection.execute(DELETE_EXPIRED, (now, SWEPT_AT_ONCE)).rowcount

        return await self._in(self._write_thread, lambda: self._transaction(work))

    async def _commit(self, batch: Sequence[Operation]) -> Sequence[Outcome]:
        started = time.perf_counter()
        outcomes = await self._in(self._write_thread, lambda: self._transaction(lambda: self._apply(batch)))
        self.metrics.commit(len(batch), time.perf_counter() - started)
        return outcomes

    async def _read(self, batch: Sequence[Address | None]) -> Sequence[Found | None]:
        def look_up() -> list[Found | None]:
            return [self._find(self._reader, address) for address in batch]

        return await self._in(self._read_thread, lambda: self._snapshot(look_up))

    async def _in(self, thread: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(thread, work)

    # What follows runs in the two threads.

    def _open(self) -> None:
        try:
            if self._location == IN_MEMORY:
                self._connection = self._connect(IN_MEMORY)
                self._reader = self._connection
            else:
                self._open_file(Path(self._location).absolute())
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            self._close()
            raise StoreStartError(f"cannot open the database {self._location}: {error}") from error
        except StoreStartError:
            self._close()
            raise

    def _open_file(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._ownership = Ownership(path)
        created = not path.exists()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if created:
            _flush_directory(path.parent)
        self._connection = self._connect(str(path))
        local = is_local(path.parent)
        if not local:
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        (mode,) = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreStartError(
                f"the file system of {path} cannot keep a write-ahead log; use another volume"
            )
        if local:
            self._reader = self._connect(str(path))
            self._reader.execute("PRAGMA query_only = ON")
        else:
            self._reader = self._connection
            log.info("the database is on a shared or unknown file system: reads take turns with commits")

    def _connect(self, target: str) -> sqlite3.Connection:
        connection = sqlite3.connect(target, isolation_level=None, check_same_thread=False, timeout=5)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        return connection

    def _prepare(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in SCHEMA:
                self._connection.execute(statement)
            meta = {
                name: bytes(value) for name, value in self._connection.execute("SELECT * FROM dumbkv_meta")
            }
            for name, value in schema.settle(meta, self._fingerprints).items():
                self._connection.execute(SET_META, (name, value))
            self._revision = int(meta.get("revision", b"0"))
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        columns = {row[1] for row in self._connection.execute(f"PRAGMA table_info({legacy.TABLE})")}
        self._has_legacy = columns >= legacy.COLUMNS

    def _close(self) -> None:
        with suppress(OSError):
            self._confirm()
        for name in ("_reader", "_connection"):
            connection: sqlite3.Connection | None = self.__dict__.pop(name, None)
            if connection is not None:
                connection.close()
        if self._ownership is not None:
            self._ownership.release()
            self._ownership = None

    def _check_opened(self) -> None:
        if not self._opened:
            reason = self._failure or "the database was never opened"
            raise StoreUnavailableError(reason) if self._fatal else StoreOwnedError(reason)

    def _transaction(self, work: Callable[[], Result]) -> Result:
        """Do the work in one durable transaction, and write down the last revision with it."""
        self._check_opened()
        if self._fatal:
            raise StoreUnavailableError(self._failure or "the database failed")
        committing = False
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            result = work()
            # Also an empty batch writes: it is how readiness asks whether the disk takes anything.
            self._connection.execute(SET_META, ("revision", str(self._revision).encode()))
            self._confirm()
            committing = True
            self._connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._undo(error)
            reason = f"cannot write: {error}"
            self._failed(f"{reason}; this process must be restarted" if self._fatal else reason)
            raise StoreUnavailableError(reason, unknown=committing and self._fatal) from error
        self._works()
        return result

    def _confirm(self) -> None:
        """End this process at once where the file is another one's now; OSError where that cannot be seen.

        That happens when a machine comes back that a network file system has given up, or when somebody
        removed the lock. Nothing may be tidied up: closing the connection would write too.
        """
        if self._ownership is not None and not self._ownership.holds():
            log.critical("another process took %s: this one ends before it writes again", self._location)
            os._exit(1)

    def _undo(self, error: Exception) -> None:
        """Roll back, and see whether this process can go on. A batch's revisions are not used again."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        self._fatal = code in FATAL
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                self._fatal = True

    def _apply(self, batch: Sequence[Operation]) -> Sequence[Outcome]:
        found: dict[bytes, Found] = {}
        for address in plan.to_look_up(batch):
            stored = self._find(self._connection, address)
            if stored is not None:
                found[address.row_ids[0]] = stored
        decided = plan.make(batch, found, self._revision, milliseconds())
        self._revision = decided.last_revision
        for change in decided.changes:
            self._store(change)
        return decided.outcomes

    def _store(self, change: plan.Change) -> None:
        address, row = change.address, change.row
        for row_id in address.row_ids if row is None else address.row_ids[1:]:
            self._connection.execute(DELETE, (row_id,))
        if self._has_legacy:
            self._connection.execute(legacy.SQLITE_DELETE, (address.database, address.legacy_key))
        if row is not None:
            values = (row.row_id, address.database, row.revision, row.expires_at, row.blob)
            self._connection.execute(UPSERT, values)

    def _snapshot(self, look_up: Callable[[], Result]) -> Result:
        """Look up in one snapshot: a row that is being moved is seen in its old place or in its new one."""
        self._check_opened()
        try:
            self._reader.execute("BEGIN")
            try:
                return look_up()
            finally:
                self._reader.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._failed(f"cannot read: {error}")
            raise StoreUnavailableError(f"cannot read: {error}") from error

    def _count(self) -> dict[int, int]:
        def count() -> dict[int, int]:
            counts = dict(self._reader.execute(COUNT, (milliseconds(),)).fetchall())
            if self._has_legacy:
                for database, keys in self._reader.execute(legacy.COUNT):
                    counts[database] = counts.get(database, 0) + keys
            return counts

        return self._snapshot(count)

    def _find(self, connection: sqlite3.Connection, address: Address | None) -> Found | None:
        if address is None:
            self._confirm()
            connection.execute("SELECT count(*) FROM dumbkv_meta").fetchone()
            return None
        for row_id in address.row_ids:
            values = connection.execute(SELECT, (row_id,)).fetchone()
            if values is not None:
                return Row(*values)
        if self._has_legacy:
            parameters = (address.database, address.legacy_key)
            values = connection.execute(legacy.SQLITE_SELECT, parameters).fetchone()
            if values is not None:
                return LegacyRow(legacy.as_text(values[0]))
        return None


def _flush_directory(directory: Path) -> None:
    """Make a new file's name durable, not only its content."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
