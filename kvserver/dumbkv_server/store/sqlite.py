"""SQLite: one thread that writes, one that reads, one process that owns the file.

Durability: WAL with synchronous=FULL, so a commit returns after its frames are on disk. On a local file
system a second connection reads while a commit waits for the disk. Elsewhere (NFS, EFS) WAL's shared memory
does not work; there the one connection locks the file exclusively, keeps the index in its own memory, and
reads take turns with commits.

The connection that writes is also the only one that folds the log into the file, as SQLite does by itself:
where one connection folds while another writes, SQLite before 3.51.3 may lose commits
(https://www.sqlite.org/wal.html#walresetbug).
"""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from dumbkv_server.metrics import Metrics

from . import (
    SWEPT_AT_ONCE,
    Address,
    Counts,
    Found,
    Operation,
    Outcome,
    Store,
    StoreOwnedError,
    StoreStartError,
    StoreUnavailableError,
    legacy,
    milliseconds,
    plan,
    schema,
    sqlite_rows,
    sqlite_transfer,
    transfer,
)
from .ownership import OwnedError, Ownership, is_local

log = logging.getLogger(__name__)
Result = TypeVar("Result")

IN_MEMORY = ":memory:"
# Of each connection, once so much was read or written.
CACHE_KIBIBYTES = 8192
# Between two looks whether another process has let go of the file.
TAKE_OVER_SECONDS = 0.5
# After these a page may be lost or wrong, and the kernel may have forgotten what it failed to write
# (https://www.sqlite.org/rescode.html); a new process reads again what is really there. SQLITE_IOERR_SHMSIZE,
# no room for the shared memory of the log's index, is only a full disk. Our few statements are right: where
# SQLite says that one is not (SQLITE_ERROR), it lost sight of the tables.
FATAL = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR} | {
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY
}  # fmt: skip


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
        # Until the tables have been seen there may be one.
        return self._has_legacy or not self._opened

    async def open(self) -> None:
        """Take the file, bring its schema up to date, and read the last revision.

        Where another process has it, and it is to be waited for, this returns at once: the file is taken as
        soon as that one has let go of it.
        """
        self._loop = asyncio.get_running_loop()
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
                self._failure = None
                self._break()
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

    async def admit(self, fingerprints: Mapping[int, bytes]) -> None:
        """Use these peppers from now on; StoreStartError where the database needs others."""

        def work() -> None:
            self._transaction(lambda: sqlite_rows.settle(self._connection, fingerprints))
            self._fingerprints = fingerprints

        await self._in(self._write_thread, work)

    async def counts(self) -> Counts:
        """How many keys there are; what expired does not count."""
        return await self._in(
            self._read_thread,
            lambda: self._snapshot(lambda: sqlite_rows.count(self._reader, has_legacy=self._has_legacy)),
        )

    async def drop(self, database: int) -> int:
        """Delete all keys of a database in one transaction: how many there were."""

        def work() -> int:
            return sqlite_rows.drop(self._connection, database, has_legacy=self._has_legacy)

        return await self._in(self._write_thread, lambda: self._transaction(work))

    @asynccontextmanager
    async def snapshot(self, seconds: float) -> AsyncIterator[transfer.Snapshot]:
        """The store as it is now. There may be one at a time."""
        tables = sqlite_transfer.Tables(self._connection)

        async def pages() -> AsyncGenerator[Sequence[transfer.Record], None]:
            while (
                page := await self._in(self._write_thread, lambda: self._reading(tables.page))
            ) is not None:
                yield page

        def begin() -> transfer.Snapshot:
            meta = sqlite_rows.meta(self._connection)
            rows = sqlite_transfer.count_legacy(self._connection) if self._has_legacy else 0
            tables.begin()
            return transfer.Snapshot(self._revision, schema.peppers(meta), rows, pages())

        try:
            yield await self._beside(begin)
        finally:
            await self._beside(tables.end)

    async def reserve(self, revisions: int, *, only_empty: bool) -> int:
        """Take so many revisions for an import, after the one that is returned."""

        def take() -> int:
            self._check_target(only_empty)
            if self._revision + revisions > transfer.LAST_REVISION:
                raise transfer.NotReservedError
            self._revision += revisions
            return self._transaction(lambda: self._revision - revisions)

        return await self._in(self._write_thread, take)

    async def load(self, records: Sequence[transfer.Record], *, replace: bool) -> transfer.Imported:
        """Store rows in one durable transaction; a key that is there stays, unless it is to be replaced."""
        now = milliseconds()
        alive, expired = transfer.select(records, now)

        def store() -> int:
            # A pepper is recorded no later than the first row that is under it.
            for number in transfer.peppers(alive) & self._fingerprints.keys():
                name = schema.name_of(number)
                self._connection.execute(sqlite_rows.SET_META, (name, self._fingerprints[number]))
            return sqlite_transfer.write(self._connection, alive, replace=replace, now=now)

        def write() -> int:
            self._check_target(only_empty=False)
            transfer.check_reserved(alive, self._revision)
            return self._transaction(store)

        stored = await self._in(self._write_thread, write)
        return transfer.Imported(stored, len(records) - stored - expired, expired)

    async def _has_expired(self, now: int) -> bool:
        def ask() -> bool:
            return sqlite_rows.has_expired(self._reader, now)

        return await self._in(self._read_thread, lambda: self._snapshot(ask))

    async def _delete_expired(self, now: int) -> int:
        def work() -> int:
            return sqlite_rows.delete_expired(self._connection, now, SWEPT_AT_ONCE)

        return await self._in(self._write_thread, lambda: self._transaction(work))

    async def _commit(self, batch: Sequence[Operation]) -> Sequence[Outcome]:
        started = time.perf_counter()
        outcomes = await self._in(self._write_thread, lambda: self._transaction(lambda: self._apply(batch)))
        self.metrics.commit(len(batch), time.perf_counter() - started)
        return outcomes

    async def _read(self, batch: Sequence[Address | None]) -> Sequence[Found | None]:
        def look_up() -> list[Found | None]:
            if None in batch:
                self._ask()
            addresses = [address for address in batch if address is not None]
            found = iter(sqlite_rows.find(self._reader, addresses, has_legacy=self._has_legacy))
            return [None if address is None else next(found) for address in batch]

        return await self._in(self._read_thread, lambda: self._snapshot(look_up))

    async def _in(self, thread: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(thread, work)

    async def _beside(self, work: Callable[[], Result]) -> Result:
        """Work on the connection that writes, between two transactions."""
        return await self._in(self._write_thread, lambda: self._reading(work))

    # What follows runs in the two threads.

    def _open(self) -> None:
        try:
            if self._location == IN_MEMORY:
                self._connection = self._connect(IN_MEMORY)
                self._reader = self._connection
            else:
                self._open_file(Path(self._location).absolute())
            self._prepare()
            # The reader too has seen the tables once.
            self._ask()
            if self._ownership is not None:
                self._ownership.watch()
        except (sqlite3.Error, OSError) as error:
            self._close()
            raise StoreStartError(f"cannot open the database {self._location}: {error}") from error
        except StoreStartError:
            self._close()
            raise

    def _open_file(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        local = is_local(path.parent)
        self._ownership = Ownership(path, local=local)
        created = not path.exists()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if created:
            _flush_directory(path.parent)
        self._connection = self._connect(str(path))
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
        # A statement of many rows may have to be undone alone: what for is no matter of a file.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIBIBYTES}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        return connection

    def _prepare(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in sqlite_rows.SCHEMA:
                self._connection.execute(statement)
            sqlite_rows.settle(self._connection, self._fingerprints)
            self._revision = int(sqlite_rows.meta(self._connection).get("revision", b"0"))
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

    def _transaction(self, work: Callable[[], Result]) -> Result:
        """Do the work in one durable transaction, and write down the last revision with it."""
        self._refuse()
        committing = False
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            result = work()
            # Also an empty batch writes: it is how readiness asks whether the disk takes anything.
            self._connection.execute(sqlite_rows.SET_META, ("revision", str(self._revision).encode()))
            self._confirm()
            committing = True
            self._connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._undo(error)
            reason = f"cannot write: {error}"
            self._failed(f"{reason}; this process must be restarted" if self.fatal else reason)
            raise StoreUnavailableError(reason, unknown=committing and self.fatal) from error
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        # What was written to a file that nobody finds again is not stored.
        self._check_files(unknown=True)
        self._works()
        return result

    def _refuse(self) -> None:
        """StoreUnavailableError where the database is another process' still, or ours no more."""
        if self.fatal:
            raise StoreUnavailableError(self._failure or "the database failed")
        if not self._opened:
            raise StoreOwnedError(self._failure or "the database was never opened")

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
        self._judge(error)
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                self._break()

    def _check_files(self, *, unknown: bool = False) -> None:
        """StoreUnavailableError, now and from now on, where our files are no longer those at their paths."""
        lost = None if self._ownership is None else self._ownership.lost()
        if lost is not None:
            self._break()
            reason = f"{lost} was deleted or replaced while it was in use"
            self._failed(f"{reason}; this process must be restarted")
            raise StoreUnavailableError(reason, unknown=unknown)

    def _judge(self, error: Exception) -> None:
        # What the Python module refuses by itself has no code.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
        if code & 0xFF in FATAL and code != sqlite3.SQLITE_IOERR_SHMSIZE:
            self._break()

    def _break(self) -> None:
        self._fatal = True
        self._loop.call_soon_threadsafe(self.broken.set)

    def _apply(self, batch: Sequence[Operation]) -> Sequence[Outcome]:
        addresses = plan.to_look_up(batch)
        stored = sqlite_rows.find(self._connection, addresses, has_legacy=self._has_legacy)
        found = {
            address.row_ids[0]: row for address, row in zip(addresses, stored, strict=True) if row is not None
        }
        decided = plan.make(batch, found, self._revision, milliseconds())
        self._revision = decided.last_revision
        sqlite_rows.change(self._connection, decided.changes, has_legacy=self._has_legacy)
        return decided.outcomes

    def _snapshot(self, look_up: Callable[[], Result]) -> Result:
        """Look up in one snapshot: a row that is being moved is seen in its old place or in its new one."""

        def inside() -> Result:
            self._reader.execute("BEGIN")
            try:
                return look_up()
            finally:
                self._reader.execute("COMMIT")

        return self._reading(inside)

    def _reading(self, work: Callable[[], Result]) -> Result:
        self._refuse()
        try:
            return work()
        except (sqlite3.Error, OSError) as error:
            self._judge(error)
            reason = f"cannot read: {error}"
            self._failed(f"{reason}; this process must be restarted" if self.fatal else reason)
            raise StoreUnavailableError(reason) from error

    def _check_target(self, only_empty: bool) -> None:
        """See whether an import may begin or go on; nobody else writes until this thread does."""
        self._reading(
            lambda: sqlite_transfer.check_target(
                self._connection, has_legacy=self._has_legacy, only_empty=only_empty
            )
        )

    def _ask(self) -> None:
        """Whether the database can be read, and is ours."""
        self._confirm()
        self._check_files()
        sqlite_rows.is_there(self._reader)


def _flush_directory(directory: Path) -> None:
    """Make a new file's name durable, not only its content."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
