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
from pathlib import Path
from typing import TypeVar

from dumbkv_server.metrics import Metrics

from . import (
    Address,
    Delete,
    Found,
    LegacyRow,
    Operation,
    Outcome,
    Put,
    Rewrite,
    Row,
    Store,
    StoreStartError,
    StoreUnavailableError,
    legacy,
    schema,
)
from .ownership import Ownership, is_local

log = logging.getLogger(__name__)
Result = TypeVar("Result")

IN_MEMORY = ":memory:"
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
)
UPSERT = """INSERT INTO dumbkv_rows (row_id, database, revision, expires_at, blob) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (row_id) DO UPDATE SET
    revision = excluded.revision, expires_at = excluded.expires_at, blob = excluded.blob"""
SELECT = "SELECT row_id, revision, expires_at, blob FROM dumbkv_rows WHERE row_id = ?"
DELETE = "DELETE FROM dumbkv_rows WHERE row_id = ?"
DELETE_REVISION = "DELETE FROM dumbkv_rows WHERE row_id = ? AND revision = ?"
SET_META = """INSERT INTO dumbkv_meta (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value"""


class SQLiteStore(Store):
    """A store in one SQLite file, or in memory for tests."""

    def __init__(
        self, location: str, metrics: Metrics, *, fingerprints: Mapping[int, bytes], max_waiting_writes: int
    ) -> None:
        super().__init__(metrics, max_waiting_writes=max_waiting_writes)
        self._location = location
        self._fingerprints = fingerprints
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

    async def open(self) -> None:
        """Take the file, bring its schema up to date, and read the last revision."""
        await self._in(self._write_thread, self._open)
        self._works()

    async def close(self) -> None:
        """Finish what waits, fold the write-ahead log into the file, and let go of it."""
        await super().close()
        await self._in(self._write_thread, self._close)
        self._write_thread.shutdown()
        self._read_thread.shutdown()

    async def _commit(self, batch: Sequence[Operation]) -> Sequence[Outcome]:
        started = time.perf_counter()
        outcomes = await self._in(self._write_thread, lambda: self._write(batch))
        self.metrics.commit(len(batch), time.perf_counter() - started)
        return outcomes

    async def _read(self, batch: Sequence[Address | None]) -> Sequence[Found | None]:
        return await self._in(self._read_thread, lambda: self._select(batch))

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
        if self._reader is self._connection:
            self._read_thread.shutdown()
            self._read_thread = self._write_thread

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
        for name in ("_reader", "_connection"):
            connection: sqlite3.Connection | None = self.__dict__.pop(name, None)
            if connection is not None:
                connection.close()
        if self._ownership is not None:
            self._ownership.release()
            self._ownership = None

    def _write(self, batch: Sequence[Operation]) -> Sequence[Outcome]:
        if self._fatal:
            raise StoreUnavailableError(self._failure or "the database failed")
        committing = False
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._apply(operation) for operation in batch]
            # Also an empty batch writes: it is how readiness asks whether the disk takes anything.
            self._connection.execute(SET_META, ("revision", str(self._revision).encode()))
            committing = True
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo(error)
            reason = f"cannot write: {error}"
            self._failed(f"{reason}; this process must be restarted" if self._fatal else reason)
            raise StoreUnavailableError(reason, unknown=committing and self._fatal) from error
        self._works()
        return outcomes

    def _undo(self, error: sqlite3.Error) -> None:
        """Roll back, and see whether this process can go on. A batch's revisions are not used again."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        self._fatal = code in FATAL
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                self._fatal = True

    def _apply(self, operation: Operation) -> Outcome:
        address = operation.address
        match operation:
            case Put(blob=blob):
                self._remove(address, address.row_ids[1:])
                self._revision += 1
                row = (address.row_ids[0], address.database, self._revision, None, blob)
                self._connection.execute(UPSERT, row)
                return self._revision
            case Delete():
                return self._remove(address, address.row_ids)
            case Rewrite(found=found, blob=blob):
                return self._rewrite(address, found, blob)

    def _remove(self, address: Address, row_ids: tuple[bytes, ...]) -> bool:
        removed = 0
        for row_id in row_ids:
            removed += self._connection.execute(DELETE, (row_id,)).rowcount
        if self._has_legacy:
            removed += self._connection.execute(
                legacy.SQLITE_DELETE, (address.database, address.legacy_key)
            ).rowcount
        return removed > 0

    def _rewrite(self, address: Address, found: Found, blob: bytes) -> int | None:
        if self._connection.execute(SELECT, (address.row_ids[0],)).fetchone() is not None:
            return None
        if isinstance(found, Row):
            moved = self._connection.execute(DELETE_REVISION, (found.row_id, found.revision)).rowcount
            revision, expires_at = found.revision, found.expires_at
        else:
            parameters = (address.database, address.legacy_key)
            moved = self._connection.execute(
                f"{legacy.SQLITE_DELETE} AND CAST(value AS TEXT) = ?", (*parameters, found.token)
            ).rowcount
            revision, expires_at = self._revision + 1, None
        if not moved:
            return None
        self._revision = max(self._revision, revision)
        self._connection.execute(UPSERT, (address.row_ids[0], address.database, revision, expires_at, blob))
        return revision

    def _select(self, batch: Sequence[Address | None]) -> Sequence[Found | None]:
        try:
            # One snapshot: a row that is being moved is seen in its old place or in its new one.
            self._reader.execute("BEGIN")
            try:
                return [self._find(address) for address in batch]
            finally:
                self._reader.execute("COMMIT")
        except sqlite3.Error as error:
            self._failed(f"cannot read: {error}")
            raise StoreUnavailableError(f"cannot read: {error}") from error

    def _find(self, address: Address | None) -> Found | None:
        if address is None:
            self._reader.execute("SELECT count(*) FROM dumbkv_meta").fetchone()
            return None
        for row_id in address.row_ids:
            values = self._reader.execute(SELECT, (row_id,)).fetchone()
            if values is not None:
                return Row(*values)
        if self._has_legacy:
            parameters = (address.database, address.legacy_key)
            values = self._reader.execute(legacy.SQLITE_SELECT, parameters).fetchone()
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
