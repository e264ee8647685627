"""What a group of writes makes of the rows that are stored."""

from dumbkv_server.store import (
    Address,
    Condition,
    Conflict,
    Delete,
    Found,
    Get,
    LegacyRow,
    Operation,
    Put,
    Rewrite,
    Row,
    Transaction,
    plan,
)

NOW = 1_000_000
NEW, OLD = b"new", b"old"
KEY = Address(0, (NEW, OLD), "legacy")
OTHER = Address(0, (b"other", b"other-old"), "other-legacy")


def make(*operations: Operation, found: Found | None = None, last: int = 10) -> plan.Plan:
    return plan.make(operations, {} if found is None else {NEW: found}, last, NOW)


def test_only_what_decides_is_looked_up_and_each_key_once() -> None:
    assert plan.to_look_up([Put(KEY, b"blob"), Put(OTHER, b"blob")]) == []
    batch: list[Operation] = [
        Delete(KEY),
        Transaction((Get(KEY), Put(OTHER, b"blob", None, Condition(None))), 100),
    ]
    assert plan.to_look_up(batch) == [KEY, OTHER]


def test_several_writes_of_one_key_are_one_change_with_the_last_revision() -> None:
    made = make(Put(KEY, b"1"), Put(KEY, b"2"), Delete(OTHER), Put(KEY, b"3"))
    assert made.outcomes == [11, 12, False, 13]
    assert made.changes == [plan.Change(KEY, Row(NEW, 13, None, b"3")), plan.Change(OTHER, None)]
    assert made.last_revision == 13


def test_each_operation_sees_what_those_before_it_did() -> None:
    absent, after = Condition(None), Condition(12)
    made = make(
        Put(KEY, b"1", None, absent),
        Put(KEY, b"2", None, absent),
        Put(KEY, b"3", None, Condition(11)),
        Delete(KEY, after),
        Delete(KEY),
        Put(KEY, b"4", None, absent),
    )
    assert made.outcomes == [11, Conflict(0), 12, True, False, 13]


def test_a_transaction_whose_condition_fails_changes_nothing_and_the_others_stay() -> None:
    stored = Row(OLD, 5, None, b"stored")
    transaction = Transaction((Put(OTHER, b"x"), Delete(KEY), Put(KEY, b"y", None, Condition(5))), 100)
    made = make(Put(OTHER, b"before"), transaction, Transaction((Get(KEY),), 100), found=stored)
    assert made.outcomes == [11, Conflict(2), (stored,)]
    assert made.changes == [plan.Change(OTHER, Row(b"other", 11, None, b"before"))]


def test_what_expired_counts_as_absent_to_the_millisecond() -> None:
    for expires_at, present in ((NOW, False), (NOW + 1, True)):
        row = Row(NEW, 5, expires_at, b"v")
        assert make(Delete(KEY), found=row).outcomes == [present]
        assert make(Put(KEY, b"", None, Condition(5)), found=row).outcomes == [11 if present else Conflict(0)]


def test_a_rewrite_keeps_revision_and_expiry_and_only_moves_what_was_found() -> None:
    row = Row(OLD, 5, NOW + 9, b"old")
    made = make(Rewrite(KEY, row, b"new"), found=row)
    assert made.outcomes == [5]
    assert made.changes == [plan.Change(KEY, Row(NEW, 5, NOW + 9, b"new"))]
    for other in (None, Row(OLD, 6, None, b"old"), Row(NEW, 5, None, b"new"), LegacyRow("token")):
        assert make(Rewrite(KEY, row, b"new"), found=other).outcomes == [None]


def test_a_row_of_the_original_gets_a_revision_with_its_rewrite() -> None:
    made = make(Rewrite(KEY, LegacyRow("token"), b"new"), found=LegacyRow("token"))
    assert (made.outcomes, made.last_revision) == ([11], 11)
    assert make(Rewrite(KEY, LegacyRow("token"), b"new"), found=LegacyRow("changed")).outcomes == [None]
    assert make(Put(KEY, b"", None, Condition(None)), found=LegacyRow("token")).outcomes == [Conflict(0)]
    assert make(Delete(KEY), found=LegacyRow("token")).outcomes == [True]
