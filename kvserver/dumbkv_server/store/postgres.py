"""PostgreSQL: a pool of checked connections, one writer that groups commits, readers that group look-ups.

Any number of server processes may share a database. Each write transaction first takes its revisions from one
row, whose lock it then holds to its end: so revisions follow the order of commits, and two writers never wait
for each other in a circle.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool

from dumbkv_server.metrics import Metrics

from . import (
    SWEPT_AT_ONCE,
    Address,
    Counts,
    Found,
    Operation,
    Outcome,
    Store,
    StoreStartError,
    StoreUnavailableError,
    legacy,
    milliseconds,
    plan,
    postgres_rows,
    postgres_transfer,
    schema,
    transfer,
)
from .postgres_schema import META, TAKE_REVISIONS, Connection, Cursor, prepare, read_meta

log = logging.getLogger(__name__)

READERS = 2
# How long a request waits for a connection before it is told that the database is away.
WAIT_SECONDS = 1.0
HAS_EXPIRED = "SELECT EXISTS (SELECT FROM dumbkv_rows WHERE expires_at <= %s)"
DELETE_EXPIRED = """DELETE FROM dumbkv_rows WHERE row_id IN
    (SELECT row_id FROM dumbkv_rows WHERE expires_at <= %s LIMIT %s)"""
COUNT = """SELECT database, count(*) FROM dumbkv_rows
    WHERE expires_at IS NULL OR expires_at > %s GROUP BY database"""
COUNT_PEPPERS = """SELECT substr(blob, 2, 1), count(*) FROM dumbkv_rows
    WHERE expires_at IS NULL OR expires_at > %s GROUP BY 1"""
# What expired is removed first, so that it does not count.
DROP_EXPIRED = "DELETE FROM dumbkv_rows WHERE database = %s AND expires_at <= %s"
DROP = "DELETE FROM dumbkv_rows WHERE database = %s"
NO_REVISION = "the table dumbkv_revision is empty: restore it from a backup"
# SQLSTATE classes of a connection or a server that went away: the commit may have been done before.
LOST = {"08", "57"}


class PostgresStore(Store):
    """A store in a PostgreSQL database, which other processes may use at the same time.

    `uri` is asked for each new connection, so a password that was changed needs no restart. It may raise
    ValueError: then the URI that was valid last is used.
    """

    def __init__(
        self,
        uri: Callable[[], str],
        metrics: Metrics,
        *,
        fingerprints: Mapping[int, bytes],
        max_waiting_writes: int,
        statement_timeout: float,
    ) -> None:
        super().__init__(metrics, max_waiting_writes=max_waiting_writes, readers=READERS)
        self._uri = uri
        self._valid: dict[str, object] | None = None
        self._fingerprints = fingerprints
        self._timeout = statement_timeout
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._prepared = False
        # Only who was just given its peppers looks whether one that it lacks is still needed: a process that
        # lags behind the others does not, as they write meanwhile.
        self._may_forget = True
        # Until a connection has looked.
        self._has_legacy = True

    @property
    def has_legacy(self) -> bool:
        """Whether there is a table of the original DumbKV: its rows have no revision until they are read."""
        return self._has_legacy

    async def open(self) -> None:
        """Connect and bring the schema up to date; one that is away is tried again with each request."""
        self._valid = self._connection_settings()
        self._pool = AsyncConnectionPool(
            kwargs=self._current_settings,
            min_size=1,
            # One for the writer, and one for an export.
            max_size=READERS + 2,
            open=False,
            check=AsyncConnectionPool.check_connection,
            timeout=WAIT_SECONDS,
            reconnect_timeout=WAIT_SECONDS,
            name="dumbkv",
        )
        await self._pool.open()
        try:
            async with self._connection():
                self._works()
        except StoreUnavailableError as error:
            self._failed(f"{error.reason}; it is used as soon as it answers")
        except StoreStartError:
            await self._pool.close()
            raise

    async def close(self) -> None:
        """Finish what waits and close the connections."""
        await super().close()
        if self._pool is not None:
            await self._pool.close()

    async def _current_settings(self) -> dict[str, object]:
        """The settings of the next connection, from the URI as it is now."""
        try:
            self._valid = self._connection_settings()
        except (StoreStartError, ValueError) as error:
            log.error("the changed DATABASE_LOCATION is not used, the former stays: %s", error)
        return self._valid or {}

    def _connection_settings(self) -> dict[str, object]:
        milliseconds = int(self._timeout * 1000)
        ours = (
            f"-c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout={milliseconds} "
            # A server that was told to be careless is asked to be durable for our transactions.
            "-c synchronous_commit=on"
        )
        try:
            given = conninfo_to_dict(self._uri())
        except psycopg.ProgrammingError:
            # The library's message repeats the URI, and with it the password.
            raise StoreStartError("DATABASE_LOCATION is not a valid postgres:// URI") from None
        defaults = {
            "application_name": "dumbkv",
            "connect_timeout": max(2, int(WAIT_SECONDS)),
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": milliseconds,
        }
        options = f"{given.get('options') or ''} {ours}".strip()
        return {**defaults, **given, "options": options, "autocommit": True}

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A checked connection to a prepared database; StoreUnavailableError where there is none."""
        if self._pool is None:
            raise StoreUnavailableError("the database was never opened")
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(WAIT_SECONDS + self._timeout):
                    connection = await stack.enter_async_context(self._pool.connection())
                if not self._prepared:
                    await self._prepare(connection)
                yield connection
        except TimeoutError:
            raise StoreUnavailableError("PostgreSQL takes connections and does not answer") from None
        except psycopg.Error as error:
            # Whatever it was, look again at what the database is before the next use.
            self._prepared, self._has_legacy = False, True
            raise StoreUnavailableError(_reason(error)) from error

    async def admit(self, fingerprints: Mapping[int, bytes]) -> None:
        """Use these peppers from now on; StoreStartError where the database needs others."""
        former, self._fingerprints, self._prepared = self._fingerprints, fingerprints, False
        self._may_forget = True
        try:
            async with self._connection():
                pass
        except BaseException:
            self._fingerprints, self._prepared = former, False
            raise

    async def _prepare(self, connection: Connection) -> None:
        try:
            # A look at all rows may take its time.
            async with asyncio.timeout(None if self._may_forget else 2 * self._timeout):
                self._has_legacy = await prepare(connection, self._fingerprints, may_forget=self._may_forget)
        except StoreStartError:
            self._may_forget = False
            raise
        self._may_forget = False
        self._prepared = True

    async def _check_peppers(self, meta: Cursor) -> None:
        """StoreUnavailableError where another process writes under a pepper that this one was not given.

        It would answer 'not found' for what is there. It looks at its pepper file each second, and serves
        again with the pepper in it.
        """
        record = await read_meta(meta)
        if not schema.agrees(record, self._fingerprints):
            self._prepared = False
            lacking = schema.not_given(record, self._fingerprints)
            told = f"pepper {lacking[0]}, which was not given to this one" if lacking else "other peppers"
            raise StoreUnavailableError(f"another process writes under {told}")

    @asynccontextmanager
    async def _use(self, *, writes: bool = False) -> AsyncIterator[Connection]:
        """A connection for a while, whose failure is remembered.

        PostgreSQL limits the time of a statement, and not that of a commit, nor its own when it hangs.
        """
        try:
            async with self._connection() as connection:
                try:
                    async with asyncio.timeout(2 * self._timeout):
                        yield connection
                except TimeoutError:
                    self._prepared = False
                    raise StoreUnavailableError("PostgreSQL does not answer", unknown=writes) from None
        except StoreStartError as error:
            self._failed(str(error))
            raise StoreUnavailableError(str(error)) from error
        except StoreUnavailableError as error:
            self._failed(error.reason)
            raise

    async def counts(self) -> Counts:
        """How many keys there are; what expired does not count."""
        now = milliseconds()
        async with self._use() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            rows = await (await connection.execute(COUNT, (now,))).fetchall()
            peppers = dict.fromkeys(schema.peppers(await read_meta(await connection.execute(META))), 0)
            counts = dict(cast("list[tuple[int, int]]", rows))
            if len(peppers) == 1:
                # The usual case, in which no value has to be looked at.
                peppers = dict.fromkeys(peppers, sum(counts.values()))
            else:
                rows = await (await connection.execute(COUNT_PEPPERS, (now,))).fetchall()
                peppers.update(
                    (number[0], keys) for number, keys in cast("list[tuple[bytes, int]]", rows) if number
                )
            if self._has_legacy:
                rows = await (await connection.execute(legacy.COUNT)).fetchall()
                for database, keys in cast("list[tuple[int, int]]", rows):
                    counts[database] = counts.get(database, 0) + keys
        return Counts(counts, peppers)

    async def drop(self, database: int) -> int:
        """Delete all keys of a database in one transaction: how many there were."""
        statements: list[tuple[str, tuple[int, ...]]] = [
            (DROP_EXPIRED, (database, milliseconds())),
            (DROP, (database,)),
        ]
        if self._has_legacy:
            statements.append((legacy.POSTGRES_DROP, (database,)))
        return sum((await self._alone(statements))[1:])

    @asynccontextmanager
    async def snapshot(self, seconds: float) -> AsyncIterator[transfer.Snapshot]:
        """The store as it is now, for at most so many seconds. There may be one at a time."""
        async with self._use() as connection, connection.transaction():
            snapshot = await postgres_transfer.begin(connection, self._has_legacy, seconds)
            try:
                yield snapshot
            finally:
                await snapshot.pages.aclose()

    async def reserve(self, revisions: int, *, only_empty: bool) -> int:
        """Take so many revisions for an import, after the one that is returned."""
        async with self._turn(revisions) as (connection, last):
            if last > transfer.LAST_REVISION:
                raise transfer.NotReservedError
            await postgres_transfer.check_target(
                connection, has_legacy=self._has_legacy, only_empty=only_empty
            )
        return last - revisions

    async def load(self, records: Sequence[transfer.Record], *, replace: bool) -> transfer.Imported:
        """Store rows in one durable transaction; a key that is there stays, unless it is to be replaced."""
        now = milliseconds()
        alive, expired = transfer.select(records, now)
        async with self._turn(0) as (connection, last):
            transfer.check_reserved(alive, last)
            await postgres_transfer.check_target(connection, has_legacy=self._has_legacy, only_empty=False)
            # A pepper is recorded no later than the first row that is under it.
            for number in transfer.peppers(alive) & self._fingerprints.keys():
                name = schema.name_of(number)
                await connection.execute(postgres_transfer.RECORD, (name, self._fingerprints[number]))
            stored = await postgres_transfer.write(connection, alive, replace=replace, now=now)
        return transfer.Imported(stored, len(records) - stored - expired, expired)

    async def _has_expired(self, now: int) -> bool:
        async with self._use() as connection:
            row = await (await connection.execute(HAS_EXPIRED, (now,))).fetchone()
        return row is not None and bool(row[0])

    async def _delete_expired(self, now: int) -> int:
        return sum(await self._alone([(DELETE_EXPIRED, (now, SWEPT_AT_ONCE))]))

    async def _alone(self, statements: Sequence[tuple[str, tuple[int, ...]]]) -> list[int]:
        """A write transaction of its own: how many rows each statement changed."""
        async with self._turn(0) as (connection, _):
            return [(await connection.execute(*statement)).rowcount for statement in statements]

    @asynccontextmanager
    async def _turn(self, revisions: int) -> AsyncIterator[tuple[Connection, int]]:
        """A write transaction of its own, which takes so many revisions, and the last of them."""
        async with self._use(writes=True) as connection:
            try:
                async with connection.transaction():
                    # The turn is taken first, as every writer does.
                    taken = await (await connection.execute(TAKE_REVISIONS, (revisions,))).fetchone()
                    if taken is None:
                        raise StoreUnavailableError(NO_REVISION)
                    yield connection, cast("int", taken[0])
            except psycopg.Error as error:
                raise StoreUnavailableError(_reason(error), unknown=_is_unknown(error)) from error

    async def _commit(self, batch: Sequence[Operation]) -> Sequence[Outcome]:
        started = time.perf_counter()
        async with self._use(writes=True) as connection:
            outcomes = await self._transaction(connection, batch)
        self._works()
        self.metrics.commit(len(batch), time.perf_counter() - started)
        return outcomes

    async def _transaction(self, connection: Connection, batch: Sequence[Operation]) -> Sequence[Outcome]:
        """Two round trips: one takes the turn, revisions and present rows, one does all the rest."""
        addresses = plan.to_look_up(batch)
        # As many as any of these could need; those that are left over are never used.
        needed = plan.revisions_needed(batch)
        async with connection.pipeline():
            await connection.execute("BEGIN")
            cursor = await connection.execute(TAKE_REVISIONS, (needed,))
            meta = await connection.execute(META)
            rows = (
                await postgres_rows.look_up(connection, addresses, has_legacy=self._has_legacy)
                if addresses
                else None
            )
            taken = await cursor.fetchone()
            if taken is None:
                raise StoreUnavailableError(NO_REVISION)
        await self._check_peppers(meta)
        stored = await postgres_rows.choose(addresses, rows)
        found = {
            address.row_ids[0]: row for address, row in zip(addresses, stored, strict=True) if row is not None
        }
        decided = plan.make(batch, found, cast("int", taken[0]) - needed, milliseconds())
        try:
            async with connection.pipeline():
                for change in decided.changes:
                    await postgres_rows.change(connection, change, has_legacy=self._has_legacy)
                commit = await connection.execute("COMMIT")
            if commit.statusmessage != "COMMIT":
                raise StoreUnavailableError("the transaction was rolled back")
            return decided.outcomes
        except psycopg.Error as error:
            raise StoreUnavailableError(_reason(error), unknown=_is_unknown(error)) from error

    async def _read(self, batch: Sequence[Address | None]) -> Sequence[Found | None]:
        addresses = [address for address in batch if address is not None]
        async with self._use() as connection:
            if not self._has_legacy:
                rows = await postgres_rows.look_up(connection, addresses, has_legacy=self._has_legacy)
            else:
                async with connection.pipeline():
                    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    rows = await postgres_rows.look_up(connection, addresses, has_legacy=self._has_legacy)
                    await connection.execute("COMMIT")
            chosen = await postgres_rows.choose(addresses, rows)
            if None in chosen:
                await self._check_peppers(await connection.execute(META))
        found = iter(chosen)
        return [None if address is None else next(found) for address in batch]


def _is_unknown(error: psycopg.Error) -> bool:
    return error.sqlstate is None or error.sqlstate[:2] in LOST


def _reason(error: psycopg.Error) -> str:
    """One line without the parameters that a server may quote in its details."""
    primary = error.diag.message_primary or str(error).partition("\n")[0]
    return f"{type(error).__name__}: {primary}"
