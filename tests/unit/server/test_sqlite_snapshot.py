"""A snapshot of SQLite has what was there when it began, whatever is done between two of its pages."""

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumbkv_server.store import sqlite_rows, sqlite_transfer
from dumbkv_server.store.sqlite_transfer import Tables
from dumbkv_server.store.transfer import Record, TooManyChangesError

# A few places only, so that rows are changed, deleted and made anew in the place of others.
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "page", "roll back"]), st.integers(0, 12)), max_size=40
)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def fill(connection: sqlite3.Connection, numbers: list[int]) -> dict[bytes, int]:
    connection.execute("DROP TABLE IF EXISTS dumbkv_rows")
    for statement in sqlite_rows.SCHEMA:
        connection.execute(statement)
    for number in numbers:
        put(connection, number, number + 1)
    return {bytes([number]): number + 1 for number in numbers}


def put(connection: sqlite3.Connection, number: int, revision: int, size: int = 30) -> None:
    record = Record(bytes([number]), 0, revision, None, bytes(size))
    sqlite_transfer.write(connection, [record], replace=True, now=0)


def rest(tables: Tables) -> list[Record]:
    records: list[Record] = []
    while (page := tables.page()) is not None:
        records += page
    return records


@given(st.lists(st.integers(0, 12), unique=True), STEPS)
def test_pages_are_of_one_moment(numbers: list[int], steps: list[tuple[str, int]]) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_transfer, "PAGE_ROWS", 2)
        expected = fill(connection, numbers)
        tables = Tables(connection)
        tables.begin()
        records: list[Record] = []
        for revision, (step, number) in enumerate(steps, 100):
            if step == "page":
                records += tables.page() or []
                continue
            connection.execute("BEGIN")
            if step == "delete":
                connection.execute("DELETE FROM dumbkv_rows WHERE row_id = ?", (bytes([number]),))
            else:
                put(connection, number, revision)
            connection.execute("ROLLBACK" if step == "roll back" else "COMMIT")
        records += rest(tables)
        found = {record.row_id: record.revision for record in records}
        assert found == expected
        assert len(records) == len(expected)
        tables.end()
        assert connection.execute("SELECT count(*) FROM sqlite_temp_master").fetchone() == (0,)
    connection.close()


def test_what_expired_before_is_left_out_and_does_not_end_it(connection: sqlite3.Connection) -> None:
    fill(connection, list(range(10)))
    connection.execute("UPDATE dumbkv_rows SET expires_at = 1 WHERE revision < 10")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_transfer, "PAGE_ROWS", 2)
        tables = Tables(connection)
        tables.begin()
        assert [record.revision for record in rest(tables)] == [10]


def test_what_is_set_aside_is_bounded_and_let_go(connection: sqlite3.Connection) -> None:
    fill(connection, [])
    for number in range(100):
        put(connection, number, number + 1, 1024 * 1024)
    tables = Tables(connection)
    tables.begin()
    # Half of it may change; once that has been passed, so may the other half.
    for number in range(50):
        put(connection, number, 200)
    records = []
    for _ in range(60):
        records += tables.page() or []
    for number in range(60, 100):
        put(connection, number, 200)
    records += rest(tables)
    assert [record.revision for record in records] == list(range(1, 101))
    tables.begin()
    for number in range(100):
        put(connection, number, 300, 1024 * 1024)
    for number in range(100):
        put(connection, number, 400)
    assert len(rest(tables)) == 100
    for number in range(100):
        put(connection, number, 500, 1024 * 1024)
    tables.begin()
    for number in range(100):
        put(connection, number, 600)
    with pytest.raises(TooManyChangesError):
        tables.page()
