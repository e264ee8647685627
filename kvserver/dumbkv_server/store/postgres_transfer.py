"""Exports and imports of PostgreSQL: one statement reads all rows, one writes many."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

from psycopg import AsyncConnection

from . import legacy, milliseconds, schema
from .transfer import PAGE_BYTES, PAGE_ROWS, LegacyRowsError, NotEmptyError, Record, Snapshot

# A client takes an export at its own speed, and for that long the transaction stands still.
SETTINGS = """SELECT set_config('statement_timeout', %(milliseconds)s, true),
    set_config('idle_in_transaction_session_timeout', %(milliseconds)s, true)"""
SELECT_META = "SELECT name, value FROM dumbkv_meta"
SELECT_REVISION = "SELECT last FROM dumbkv_revision"
SELECT_ALL = """SELECT row_id, database, revision, expires_at, blob FROM dumbkv_rows
    WHERE expires_at IS NULL OR expires_at > %s"""
IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM dumbkv_rows WHERE expires_at IS NULL OR expires_at > %s)"
WRITE = """INSERT INTO dumbkv_rows (row_id, database, revision, expires_at, blob)
    SELECT * FROM unnest(%s::bytea[], %s::integer[], %s::bigint[], %s::bigint[], %s::bytea[])
    ON CONFLICT (row_id) DO UPDATE SET
    revision = excluded.revision, expires_at = excluded.expires_at, blob = excluded.blob
    WHERE %s OR dumbkv_rows.expires_at <= %s"""
RECORD = "INSERT INTO dumbkv_meta (name, value) VALUES (%s, %s) ON CONFLICT (name) DO NOTHING"
Connection = AsyncConnection[tuple[Any, ...]]


async def begin(connection: Connection, has_legacy: bool, seconds: float) -> Snapshot:
    """All that the database has now, for at most so many seconds. The transaction must have just begun."""
    await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    await connection.execute(SETTINGS, {"milliseconds": str(int(seconds * 1000))})
    last = await _one(connection, SELECT_REVISION)
    meta = {name: value async for name, value in await connection.execute(SELECT_META)}
    legacy_rows = await _one(connection, legacy.COUNT_ALL) if has_legacy else 0
    return Snapshot(last, schema.peppers(meta), legacy_rows, _pages(connection))


async def _pages(connection: Connection) -> AsyncGenerator[Sequence[Record], None]:
    """The rows as they come from the socket: PostgreSQL waits where nobody takes them."""
    page: list[Record] = []
    room = PAGE_BYTES
    stream = connection.cursor().stream(SELECT_ALL, (milliseconds(),), binary=True)
    rows = cast("AsyncGenerator[tuple[Any, ...], None]", stream)
    async with aclosing(rows):
        async for columns in rows:
            record = Record(*columns)
            page.append(record)
            room -= len(record.blob)
            if room <= 0 or len(page) == PAGE_ROWS:
                yield page
                page, room = [], PAGE_BYTES
    yield page


async def check_target(connection: Connection, *, has_legacy: bool, only_empty: bool) -> None:
    """LegacyRowsError or NotEmptyError where nothing can be imported here."""
    legacy_rows = await _one(connection, legacy.COUNT_ALL) if has_legacy else 0
    if legacy_rows:
        raise LegacyRowsError(legacy_rows)
    if only_empty and not await _one(connection, IS_EMPTY, milliseconds()):
        raise NotEmptyError


async def write(connection: Connection, records: Sequence[Record], *, replace: bool, now: int) -> int:
    """Store these rows; one that is there stays, unless it is to be replaced. How many were stored."""
    columns = (
        [record.row_id for record in records],
        [record.database for record in records],
        [record.revision for record in records],
        [record.expires_at for record in records],
        [record.blob for record in records],
    )
    return (await connection.execute(WRITE, (*columns, replace, now))).rowcount


async def _one(connection: Connection, statement: str, *parameters: object) -> int:
    row = await (await connection.execute(statement, parameters)).fetchone()
    return cast("int", row[0]) if row is not None else 0
