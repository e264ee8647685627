"""Rows of PostgreSQL: how they are asked for and changed, on a given connection, in its transaction."""

from collections.abc import Sequence
from typing import cast

from . import Address, Found, LegacyRow, Row, legacy, plan
from .postgres_schema import Connection, Cursor

UPSERT = """INSERT INTO dumbkv_rows (row_id, database, revision, expires_at, blob)
    VALUES (%s, %s, %s, %s, %s) ON CONFLICT (row_id) DO UPDATE SET
    revision = excluded.revision, expires_at = excluded.expires_at, blob = excluded.blob"""
SELECT = "SELECT row_id, revision, expires_at, blob FROM dumbkv_rows WHERE row_id = ANY (%s)"
DELETE = "DELETE FROM dumbkv_rows WHERE row_id = ANY (%s)"
SELECT_LEGACY = """SELECT database_id, key, value FROM kv
    WHERE (database_id, key) IN (SELECT * FROM unnest(%s::integer[], %s::text[]))"""


async def look_up(
    connection: Connection, addresses: Sequence[Address], *, has_legacy: bool
) -> tuple[Cursor, Cursor | None]:
    """Ask for the rows of these keys, and for their tokens where there is an original table."""
    row_ids = [row_id for address in addresses for row_id in address.row_ids]
    cursor = await connection.execute(SELECT, (row_ids,), binary=True)
    if not has_legacy:
        return cursor, None
    keys = ([address.database for address in addresses], [address.legacy_key for address in addresses])
    return cursor, await connection.execute(SELECT_LEGACY, keys)


async def choose(
    addresses: Sequence[Address], cursors: tuple[Cursor, Cursor | None] | None
) -> list[Found | None]:
    """For each key its row under the newest pepper that has it, else its token, else None."""
    if cursors is None:
        return []
    of_rows, of_legacy = cursors
    rows = {row.row_id: row for row in [_row(columns) for columns in await of_rows.fetchall()]}
    tokens = (
        {}
        if of_legacy is None
        else {
            (cast("int", database), str(key)): legacy.as_text(value)
            for database, key, value in await of_legacy.fetchall()
        }
    )
    found: list[Found | None] = []
    for address in addresses:
        row = next((rows[row_id] for row_id in address.row_ids if row_id in rows), None)
        token = None if row else tokens.get((address.database, address.legacy_key))
        found.append(row if token is None else LegacyRow(token))
    return found


async def change(connection: Connection, decided: plan.Change, *, has_legacy: bool) -> None:
    """Send a change's statements; whether they worked comes with the end of the pipeline."""
    address, row = decided.address, decided.row
    old = list(address.row_ids if row is None else address.row_ids[1:])
    if old:
        await connection.execute(DELETE, (old,))
    if has_legacy:
        await connection.execute(legacy.POSTGRES_DELETE, (address.database, address.legacy_key))
    if row is not None:
        values = (row.row_id, address.database, row.revision, row.expires_at, row.blob)
        await connection.execute(UPSERT, values)


def _row(columns: tuple[object, ...]) -> Row:
    return Row(*cast("tuple[bytes, int, int | None, bytes]", columns))
