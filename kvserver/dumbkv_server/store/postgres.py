"""PostgreSQL: a pool of checked connections, one writer that groups commits, readers that group look-ups.

Any number of server processes may share a database. Each write transaction first takes its revisions from one
row, whose lock it then holds to its end: so revisions follow the order of commits, and two writers never wait
for each other in a circle.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool

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

log = logging.getLogger(__name__)
Connection = AsyncConnection[tuple[object, ...]]
Cursor = AsyncCursor[tuple[object, ...]]

READERS = 2
# How long a request waits for a connection before it is told that the database is away.
WAIT_SECONDS = 1.0
# Processes that start together create the tables one after the other.
SCHEMA_LOCK = 0x64756D626B76

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS dumbkv_rows (
        row_id bytea PRIMARY KEY,
        database integer NOT NULL,
        revision bigint NOT NULL,
        expires_at bigint,
        blob bytea NOT NULL
    )""",
    # What is encrypted does not get smaller. Where it is set already nothing is altered: that would wait for
    # every reader, a dump too, and all others would wait behind it.
    """DO $$ BEGIN
        IF (SELECT attstorage FROM pg_attribute
            WHERE attrelid = 'dumbkv_rows'::regclass AND attname = 'blob') <> 'e' THEN
            ALTER TABLE dumbkv_rows ALTER COLUMN blob SET STORAGE EXTERNAL;
        END IF;
    END $$""",
    "CREATE TABLE IF NOT EXISTS dumbkv_meta (name text PRIMARY KEY, value bytea NOT NULL)",
    "CREATE TABLE IF NOT EXISTS dumbkv_revision (last bigint NOT NULL) WITH (fillfactor = 10)",
    "INSERT INTO dumbkv_revision SELECT 0 WHERE NOT EXISTS (SELECT FROM dumbkv_revision)",
)
LEGACY_COLUMNS = """SELECT column_name FROM information_schema.columns
    WHERE table_name = %s AND table_schema = ANY (current_schemas(false))"""
TAKE_REVISIONS = "UPDATE dumbkv_revision SET last = last + %s RETURNING last"
UPSERT = """INSERT INTO dumbkv_rows (row_id, database, revision, blob) VALUES (%s, %s, %s, %s)
    ON CONFLICT (row_id) DO UPDATE SET
    revision = excluded.revision, expires_at = excluded.expires_at, blob = excluded.blob"""
SELECT = "SELECT row_id, revision, expires_at, blob FROM dumbkv_rows WHERE row_id = ANY (%s)"
DELETE = "DELETE FROM dumbkv_rows WHERE row_id = ANY (%s)"
MOVE = """WITH moved AS (
        DELETE FROM dumbkv_rows WHERE row_id = %s AND revision = %s RETURNING revision, expires_at
    )
    INSERT INTO dumbkv_rows (row_id, database, revision, expires_at, blob)
    SELECT %s, %s, revision, expires_at, %s FROM moved
    ON CONFLICT (row_id) DO NOTHING RETURNING revision"""
MOVE_LEGACY = """WITH moved AS (
        DELETE FROM kv WHERE database_id = %s AND key = %s AND value = %s RETURNING 1
    )
    INSERT INTO dumbkv_rows (row_id, database, revision, blob)
    SELECT %s, %s, %s, %s FROM moved
    ON CONFLICT (row_id) DO NOTHING RETURNING revision"""


SELECT_LEGACY = """SELECT database_id, key, value FROM kv
    WHERE (database_id, key) IN (SELECT * FROM unnest(%s::integer[], %s::text[]))"""
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
        self._has_legacy = False

    async def open(self) -> None:
        """Connect and bring the schema up to date; one that is away is tried again with each request."""
        self._valid = self._connection_settings()
        self._pool = AsyncConnectionPool(
            kwargs=self._current_settings,
            min_size=1,
            max_size=READERS + 1,
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
            async with self._pool.connection() as connection:
                if not self._prepared:
                    await self._prepare(connection)
                yield connection
        except psycopg.Error as error:
            # Whatever it was, look again at what the database is before the next use.
            self._prepared = False
            raise StoreUnavailableError(_reason(error)) from error

    async def _prepare(self, connection: Connection) -> None:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (SCHEMA_LOCK,))
            for statement in SCHEMA:
                await connection.execute(statement)
            cursor = await connection.execute("SELECT name, value FROM dumbkv_meta")
            meta = {str(name): cast("bytes", value) for name, value in await cursor.fetchall()}
            for name, value in schema.settle(meta, self._fingerprints).items():
                await connection.execute(
                    "INSERT INTO dumbkv_meta (name, value) VALUES (%s, %s)", (name, value)
                )
            cursor = await connection.execute(LEGACY_COLUMNS, (legacy.TABLE,))
            self._has_legacy = {str(name) for (name,) in await cursor.fetchall()} >= legacy.COLUMNS
        self._prepared = True

    async def _commit(self, batch: Sequence[Operation]) -> Sequence[Outcome]:
        started = time.perf_counter()
        try:
            async with self._connection() as connection:
                outcomes = await self._transaction(connection, batch)
        except StoreStartError as error:
            self._failed(str(error))
            raise StoreUnavailableError(str(error)) from error
        except StoreUnavailableError as error:
            self._failed(error.reason)
            raise
        self._works()
        self.metrics.commit(len(batch), time.perf_counter() - started)
        return outcomes

    async def _transaction(self, connection: Connection, batch: Sequence[Operation]) -> Sequence[Outcome]:
        """Two round trips: one takes the revisions and with them the turn, one does all the rest."""
        async with connection.pipeline():
            await connection.execute("BEGIN")
            # As many as any of these could need; those that are left over are never used.
            cursor = await connection.execute(TAKE_REVISIONS, (len(batch),))
            taken = await cursor.fetchone()
        if taken is None:
            raise StoreUnavailableError("the table dumbkv_revision is empty: restore it from a backup")
        first = cast("int", taken[0]) - len(batch) + 1
        try:
            async with connection.pipeline():
                sent = [
                    (operation, await self._send(connection, operation, revision), revision)
                    for revision, operation in enumerate(batch, first)
                ]
                commit = await connection.execute("COMMIT")
            if commit.statusmessage != "COMMIT":
                raise StoreUnavailableError("the transaction was rolled back")
            return [await _outcome(*item) for item in sent]
        except psycopg.Error as error:
            unknown = error.sqlstate is None or error.sqlstate[:2] in LOST
            raise StoreUnavailableError(_reason(error), unknown=unknown) from error

    async def _send(self, connection: Connection, operation: Operation, revision: int) -> list[Cursor]:
        """Send an operation's statements; their results come with the end of the pipeline."""
        address = operation.address
        new, old = address.row_ids[0], list(address.row_ids[1:])
        in_legacy = (address.database, address.legacy_key)
        match operation:
            case Rewrite(found=Row() as row, blob=blob):
                parameters = (row.row_id, row.revision, new, address.database, blob)
                return [await connection.execute(MOVE, parameters)]
            case Rewrite(found=LegacyRow() as legacy_row, blob=blob):
                moved = (*in_legacy, legacy_row.token, new, address.database, revision, blob)
                return [await connection.execute(MOVE_LEGACY, moved)]
            case Put(blob=blob):
                parameters_of_row = (new, address.database, revision, blob)
                cursors = [await connection.execute(UPSERT, parameters_of_row)]
            case _:
                cursors = []
                old = list(address.row_ids)
        if old:
            cursors.append(await connection.execute(DELETE, (old,)))
        if self._has_legacy:
            cursors.append(await connection.execute(legacy.POSTGRES_DELETE, in_legacy))
        return cursors

    async def _read(self, batch: Sequence[Address | None]) -> Sequence[Found | None]:
        addresses = [address for address in batch if address is not None]
        row_ids = [row_id for address in addresses for row_id in address.row_ids]
        try:
            async with self._connection() as connection:
                rows, tokens = await self._look_up(connection, row_ids, addresses)
        except StoreStartError as error:
            self._failed(str(error))
            raise StoreUnavailableError(str(error)) from error
        except StoreUnavailableError as error:
            self._failed(error.reason)
            raise
        return [None if address is None else _choose(address, rows, tokens) for address in batch]

    async def _look_up(
        self, connection: Connection, row_ids: list[bytes], addresses: list[Address]
    ) -> tuple[dict[bytes, Row], dict[tuple[int, str], str]]:
        """Rows by row id, and tokens of the original DumbKV by database and row key, from one snapshot."""
        if not self._has_legacy:
            cursor = await connection.execute(SELECT, (row_ids,), binary=True)
            return _rows(await cursor.fetchall()), {}
        keys = ([address.database for address in addresses], [address.legacy_key for address in addresses])
        async with connection.pipeline():
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor = await connection.execute(SELECT, (row_ids,), binary=True)
            of_legacy = await connection.execute(SELECT_LEGACY, keys)
            await connection.execute("COMMIT")
        tokens = {
            (cast("int", row[0]), str(row[1])): legacy.as_text(cast("str | bytes", row[2]))
            for row in await of_legacy.fetchall()
        }
        return _rows(await cursor.fetchall()), tokens


async def _outcome(operation: Operation, cursors: list[Cursor], revision: int) -> Outcome:
    match operation:
        case Put():
            return revision
        case Delete():
            return sum(cursor.rowcount for cursor in cursors) > 0
        case Rewrite():
            moved = await cursors[0].fetchone()
            return None if moved is None else cast("int", moved[0])


def _choose(
    address: Address, rows: Mapping[bytes, Row], tokens: Mapping[tuple[int, str], str]
) -> Found | None:
    for row_id in address.row_ids:
        if row_id in rows:
            return rows[row_id]
    token = tokens.get((address.database, address.legacy_key))
    return None if token is None else LegacyRow(token)


def _rows(values: Sequence[tuple[object, ...]]) -> dict[bytes, Row]:
    rows = (Row(*cast("tuple[bytes, int, int | None, bytes]", columns)) for columns in values)
    return {row.row_id: row for row in rows}


def _reason(error: psycopg.Error) -> str:
    """One line without the parameters that a server may quote in its details."""
    primary = error.diag.message_primary or str(error).partition("\n")[0]
    return f"{type(error).__name__}: {primary}"
