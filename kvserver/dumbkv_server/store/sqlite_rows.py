"""The tables of SQLite and what is done with their rows, inside the transaction of a given connection."""

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import TypeVar

from . import Address, Counts, Found, LegacyRow, Row, legacy, milliseconds, plan, schema

log = logging.getLogger(__name__)
Item = TypeVar("Item")

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
# Each execution hands the interpreter over to other threads and waits to have it back, which takes longer
# than a row: so many rows go into one statement, in powers of two, that few statements are prepared.
ROWS_AT_ONCE = 64
UPSERT = """INSERT INTO dumbkv_rows (row_id, database, revision, expires_at, blob) VALUES {rows}
    ON CONFLICT (row_id) DO UPDATE SET
    revision = excluded.revision, expires_at = excluded.expires_at, blob = excluded.blob"""
SELECT = "SELECT row_id, revision, expires_at, blob FROM dumbkv_rows WHERE row_id IN ({rows})"
DELETE = "DELETE FROM dumbkv_rows WHERE row_id IN ({rows})"
HAS_EXPIRED = "SELECT EXISTS (SELECT 1 FROM dumbkv_rows WHERE expires_at <= ?)"
DELETE_EXPIRED = """DELETE FROM dumbkv_rows WHERE row_id IN
    (SELECT row_id FROM dumbkv_rows WHERE expires_at <= ? LIMIT ?)"""
COUNT = """SELECT database, count(*) FROM dumbkv_rows
    WHERE expires_at IS NULL OR expires_at > ? GROUP BY database"""
# What expired is removed first, so that it does not count.
DROP_EXPIRED = "DELETE FROM dumbkv_rows WHERE database = ? AND expires_at <= ?"
DROP = "DELETE FROM dumbkv_rows WHERE database = ?"
# The second byte of a blob is the number of its pepper (crypto.py).
HAS_ROWS_UNDER = """SELECT EXISTS (SELECT 1 FROM dumbkv_rows
    WHERE substr(blob, 2, 1) = ? AND (expires_at IS NULL OR expires_at > ?))"""
COUNT_PEPPERS = """SELECT CAST(substr(blob, 2, 1) AS BLOB), count(*) FROM dumbkv_rows
    WHERE expires_at IS NULL OR expires_at > ? GROUP BY 1"""
FORGET = "DELETE FROM dumbkv_meta WHERE name = ?"
SET_META = """INSERT INTO dumbkv_meta (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value"""


def settle(connection: sqlite3.Connection, fingerprints: Mapping[int, bytes]) -> None:
    """Record these peppers; StoreStartError where the database needs others."""
    recorded = meta(connection)
    for name, value in schema.settle(recorded, fingerprints).items():
        connection.execute(SET_META, (name, value))
    for number in schema.not_given(recorded, fingerprints):
        parameters = (bytes((number,)), milliseconds())
        if connection.execute(HAS_ROWS_UNDER, parameters).fetchone()[0]:
            raise schema.still_needed(number)
        log.info("no row is left under pepper %d, and it was not given: it is forgotten", number)
        connection.execute(FORGET, (schema.name_of(number),))


def meta(connection: sqlite3.Connection) -> dict[str, bytes]:
    """What the database says of itself."""
    return {name: bytes(value) for name, value in connection.execute("SELECT * FROM dumbkv_meta")}


def is_there(connection: sqlite3.Connection) -> None:
    """sqlite3.Error where the database cannot be read."""
    connection.execute("SELECT count(*) FROM dumbkv_meta").fetchone()


def has_expired(connection: sqlite3.Connection, now: int) -> bool:
    """Whether a row has expired."""
    return bool(connection.execute(HAS_EXPIRED, (now,)).fetchone()[0])


def delete_expired(connection: sqlite3.Connection, now: int, limit: int) -> int:
    """Delete so many expired rows at most: how many."""
    return connection.execute(DELETE_EXPIRED, (now, limit)).rowcount


def drop(connection: sqlite3.Connection, database: int, *, has_legacy: bool) -> int:
    """Delete all keys of a database: how many there were."""
    connection.execute(DROP_EXPIRED, (database, milliseconds()))
    dropped = connection.execute(DROP, (database,)).rowcount
    if has_legacy:
        dropped += connection.execute(legacy.SQLITE_DROP, (database,)).rowcount
    return dropped


def count(connection: sqlite3.Connection, *, has_legacy: bool) -> Counts:
    """How many keys there are; what expired does not count."""
    now = milliseconds()
    counts = dict(connection.execute(COUNT, (now,)).fetchall())
    peppers = dict.fromkeys(schema.peppers(meta(connection)), 0)
    if len(peppers) == 1:
        # The usual case, in which no value has to be looked at.
        peppers = dict.fromkeys(peppers, sum(counts.values()))
    else:
        of_peppers = connection.execute(COUNT_PEPPERS, (now,))
        peppers.update((number[0], keys) for number, keys in of_peppers if number)
    if has_legacy:
        for database, keys in connection.execute(legacy.COUNT):
            counts[database] = counts.get(database, 0) + keys
    return Counts(counts, peppers)


def find(
    connection: sqlite3.Connection, addresses: Sequence[Address], *, has_legacy: bool
) -> list[Found | None]:
    """For each key its row under the newest pepper that has it, else its token, else None."""
    rows: dict[bytes, Row] = {}
    for row_ids in _powers_of_two([row_id for address in addresses for row_id in address.row_ids]):
        cursor = connection.execute(SELECT.format(rows=_places(len(row_ids), "?")), row_ids)
        # SQLite keeps any type in any column: what is no blob is no value of ours.
        rows |= {
            found: Row(found, revision, expires_at, blob if isinstance(blob, bytes) else b"")
            for found, revision, expires_at, blob in cursor.fetchall()
        }
    return [_choose(connection, address, rows, has_legacy) for address in addresses]


def _choose(
    connection: sqlite3.Connection, address: Address, rows: Mapping[bytes, Row], has_legacy: bool
) -> Found | None:
    for row_id in address.row_ids:
        if row_id in rows:
            return rows[row_id]
    if has_legacy:
        parameters = (address.database, address.legacy_key)
        values = connection.execute(legacy.SQLITE_SELECT, parameters).fetchone()
        if values is not None:
            return LegacyRow(legacy.as_text(values[0]))
    return None


def change(connection: sqlite3.Connection, changes: Sequence[plan.Change], *, has_legacy: bool) -> None:
    """Make all changes. Each is about another key, so about other rows: their order does not matter."""
    removed: list[bytes] = []
    stored: list[tuple[bytes, int, int, int | None, bytes]] = []
    for each in changes:
        address, row = each.address, each.row
        if row is None:
            removed += address.row_ids
        else:
            removed += address.row_ids[1:]
            stored.append((row.row_id, address.database, row.revision, row.expires_at, row.blob))
    for some in _powers_of_two(removed):
        connection.execute(DELETE.format(rows=_places(len(some), "?")), some)
    if has_legacy:
        keys = [(each.address.database, each.address.legacy_key) for each in changes]
        connection.executemany(legacy.SQLITE_DELETE, keys)
    for rows in _powers_of_two(stored):
        statement = UPSERT.format(rows=_places(len(rows), "(?, ?, ?, ?, ?)"))
        connection.execute(statement, list(chain.from_iterable(rows)))


def _powers_of_two(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """All items, in parts of as many as ROWS_AT_ONCE or a smaller power of two."""
    start, size = 0, ROWS_AT_ONCE
    while start < len(items):
        while size > len(items) - start:
            size //= 2
        yield items[start : start + size]
        start += size


@cache
def _places(count: int, place: str) -> str:
    return ", ".join([place] * count)
