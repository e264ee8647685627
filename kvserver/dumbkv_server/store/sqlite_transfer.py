"""Exports and imports of SQLite, in the thread that writes.

A snapshot does not keep a read transaction open: that would let the write-ahead log grow by every page that
is written meanwhile, and on a shared file system there is only the connection that writes. Instead triggers
of that connection set aside what a row was before its first change, until the export has passed it.
"""

import sqlite3
from collections.abc import Sequence

from . import legacy, milliseconds
from .transfer import PAGE_BYTES, PAGE_ROWS, LegacyRowsError, NotEmptyError, Record, TooManyChangesError

# What is set aside is kept in memory.
ASIDE_BYTES = 64 * 1024 * 1024
ROW_BYTES = 200

# A row is known by its place in the table, which it keeps as long as it is there. `export_aside` has what it
# was, or no blob where there was none; `export_state` how far the export is, and how much is set aside.
BEGIN = (
    "CREATE TEMP TABLE export_state (passed INTEGER NOT NULL, last INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "INSERT INTO export_state SELECT 0, coalesce(max(rowid), 0), 0 FROM main.dumbkv_rows",
    """CREATE TEMP TABLE export_aside (
        place INTEGER PRIMARY KEY,
        row_id BLOB, database INTEGER, revision INTEGER, expires_at INTEGER, blob BLOB
    )""",
)
TRIGGER = """CREATE TEMP TRIGGER export_{event} AFTER {event} ON main.dumbkv_rows
    WHEN {row}.rowid > (SELECT passed FROM export_state) AND {row}.rowid <= (SELECT last FROM export_state)
        AND NOT EXISTS (SELECT 1 FROM export_aside WHERE place = {row}.rowid)
    BEGIN
        UPDATE export_state SET bytes = bytes + {bytes};
        INSERT INTO export_aside SELECT {row}.rowid, {columns}
            WHERE (SELECT bytes FROM export_state) <= {limit};
    END"""
WAS_THERE = "old.row_id, old.database, old.revision, old.expires_at, old.blob"
EVENTS = (
    ("UPDATE", "old", f"{ROW_BYTES} + length(old.blob)", WAS_THERE),
    ("DELETE", "old", f"{ROW_BYTES} + length(old.blob)", WAS_THERE),
    ("INSERT", "new", f"{ROW_BYTES}", "NULL, NULL, NULL, NULL, NULL"),
)
END = (
    *(f"DROP TRIGGER IF EXISTS temp.export_{event}" for event, *_ in EVENTS),
    "DROP TABLE IF EXISTS temp.export_aside",
    "DROP TABLE IF EXISTS temp.export_state",
)
PAGE = """SELECT rowid AS place, row_id, database, revision, expires_at, blob FROM main.dumbkv_rows
    WHERE rowid > :passed AND rowid <= :last AND rowid NOT IN (SELECT place FROM export_aside)
    UNION ALL SELECT place, row_id, database, revision, expires_at, blob FROM export_aside
    WHERE place > :passed AND blob IS NOT NULL
    ORDER BY place"""
PASS = "UPDATE export_state SET passed = ?"  # noqa: S105 - a statement
FORGET = "DELETE FROM export_aside WHERE place <= ?"
COUNT_ASIDE = """UPDATE export_state SET bytes =
    (SELECT coalesce(sum(? + coalesce(length(blob), 0)), 0) FROM export_aside)"""

IS_EMPTY = "SELECT NOT EXISTS (SELECT 1 FROM dumbkv_rows WHERE expires_at IS NULL OR expires_at > ?)"
WRITE = """INSERT INTO dumbkv_rows (row_id, database, revision, expires_at, blob) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (row_id) DO UPDATE SET
    revision = excluded.revision, expires_at = excluded.expires_at, blob = excluded.blob
    WHERE ? OR dumbkv_rows.expires_at <= ?"""


class Tables:
    """The rows of a connection as they were when `begin` was called."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._now = milliseconds()

    def begin(self) -> None:
        """Set aside from now on what changes."""
        self.end()
        for statement in BEGIN:
            self._connection.execute(statement)
        for event, row, size, columns in EVENTS:
            self._connection.execute(
                TRIGGER.format(event=event, row=row, bytes=size, columns=columns, limit=ASIDE_BYTES)
            )

    def page(self) -> list[Record] | None:
        """The next rows, without those that had expired; None at the end.

        TooManyChangesError where more was to be set aside than may be.
        """
        passed, last, size = self._connection.execute("SELECT * FROM export_state").fetchone()
        if size > ASIDE_BYTES:
            raise TooManyChangesError
        begun, room = passed, PAGE_BYTES
        records: list[Record] = []
        rows = self._connection.execute(PAGE, {"passed": passed, "last": last})
        for seen, (place, *columns) in enumerate(rows, 1):
            record = Record(*columns)
            passed = place
            room -= len(record.blob)
            if record.expires_at is None or record.expires_at > self._now:
                records.append(record)
            if room <= 0 or seen == PAGE_ROWS:
                break
        rows.close()
        self._connection.execute(PASS, (passed,))
        if self._connection.execute(FORGET, (passed,)).rowcount:
            self._connection.execute(COUNT_ASIDE, (ROW_BYTES,))
        return records if passed > begun else None

    def end(self) -> None:
        """Set nothing aside any more."""
        for statement in END:
            self._connection.execute(statement)


def count_legacy(connection: sqlite3.Connection) -> int:
    """How many rows the table of the original DumbKV has."""
    return int(connection.execute(legacy.COUNT_ALL).fetchone()[0])


def check_target(connection: sqlite3.Connection, *, has_legacy: bool, only_empty: bool) -> None:
    """LegacyRowsError or NotEmptyError where nothing can be imported here."""
    legacy_rows = count_legacy(connection) if has_legacy else 0
    if legacy_rows:
        raise LegacyRowsError(legacy_rows)
    if only_empty and not connection.execute(IS_EMPTY, (milliseconds(),)).fetchone()[0]:
        raise NotEmptyError


def write(connection: sqlite3.Connection, records: Sequence[Record], *, replace: bool, now: int) -> int:
    """Store these rows; one that is there stays, unless it is to be replaced. How many were stored."""
    return connection.executemany(
        WRITE,
        [
            (record.row_id, record.database, record.revision, record.expires_at, record.blob, replace, now)
            for record in records
        ],
    ).rowcount
