"""What the database must have before PostgreSQL serves: the tables, and the record of the peppers."""

import logging
from collections.abc import Mapping
from typing import cast

import psycopg
from psycopg import AsyncConnection, AsyncCursor

from . import legacy, milliseconds, schema

log = logging.getLogger(__name__)
Connection = AsyncConnection[tuple[object, ...]]
Cursor = AsyncCursor[tuple[object, ...]]

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
    """CREATE INDEX IF NOT EXISTS dumbkv_expiry ON dumbkv_rows (expires_at)
    WHERE expires_at IS NOT NULL""",
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
META = "SELECT name, value FROM dumbkv_meta"
FORGET = "DELETE FROM dumbkv_meta WHERE name = %s"
# The second byte of a blob is the number of its pepper (crypto.py).
HAS_ROWS_UNDER = """SELECT EXISTS (SELECT FROM dumbkv_rows
    WHERE substr(blob, 2, 1) = %s AND (expires_at IS NULL OR expires_at > %s))"""


async def prepare(connection: Connection, fingerprints: Mapping[int, bytes], *, may_forget: bool) -> bool:
    """Bring the schema and the record of the peppers up to date: whether there is an original's table.

    StoreStartError where the database needs other peppers. With `may_forget` all rows are looked at for one
    that was not given; without, it is needed.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (SCHEMA_LOCK,))
        await _create_tables(connection)
        await _settle(connection, fingerprints, may_forget)
        cursor = await connection.execute(LEGACY_COLUMNS, (legacy.TABLE,))
        return {str(name) for (name,) in await cursor.fetchall()} >= legacy.COLUMNS


async def read_meta(cursor: Cursor) -> dict[str, bytes]:
    """What META found."""
    return {str(name): cast("bytes", value) for name, value in await cursor.fetchall()}


async def _create_tables(connection: Connection) -> None:
    try:
        async with connection.transaction():
            for statement in SCHEMA:
                await connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        # An administrator may have made them, for a role that may only use them.
        row = await (await connection.execute("SELECT to_regclass('dumbkv_meta')")).fetchone()
        if row is None or row[0] is None:
            raise


async def _settle(connection: Connection, fingerprints: Mapping[int, bytes], may_forget: bool) -> None:
    meta = await read_meta(await connection.execute(META))
    new = schema.settle(meta, fingerprints)
    gone = schema.not_given(meta, fingerprints)
    if gone and not may_forget:
        raise schema.still_needed(gone[0])
    if new or gone:
        # Nobody writes while the record changes: each writer looks at it when it has the turn.
        await connection.execute(TAKE_REVISIONS, (0,))
    for name, value in new.items():
        await connection.execute("INSERT INTO dumbkv_meta (name, value) VALUES (%s, %s)", (name, value))
    for number in gone:
        # All rows are looked at, only when a pepper was taken out.
        await connection.execute("SET LOCAL statement_timeout = 0")
        cursor = await connection.execute(HAS_ROWS_UNDER, (bytes((number,)), milliseconds()))
        if (await cursor.fetchone() or (True,))[0]:
            raise schema.still_needed(number)
        log.info("no row is left under pepper %d, and it was not given: it is forgotten", number)
        await connection.execute(FORGET, (schema.name_of(number),))
