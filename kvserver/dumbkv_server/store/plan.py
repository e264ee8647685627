"""What a group of writes makes of the stored rows. Pure: the backends look up, this decides, they write.

As each backend lets one commit follow the other, what a transaction looked up holds until its end.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from . import (
    Address,
    Conflict,
    Delete,
    Excess,
    Found,
    Get,
    KeyOperation,
    LegacyRow,
    Operation,
    Outcome,
    Put,
    Rewrite,
    Row,
    Transaction,
    alive,
)


class Change(Struct, frozen=True):
    """What becomes of one key: it is removed from every place, and `row`, if there is one, is stored."""

    address: Address
    row: Row | None


class Plan(Struct):
    """One outcome for each operation, at most one change for each key, and the last revision given."""

    outcomes: list[Outcome]
    changes: list[Change]
    last_revision: int


def to_look_up(batch: Sequence[Operation]) -> list[Address]:
    """The keys, each once, whose present rows decide about these operations."""
    needed = {
        operation.address.row_ids[0]: operation.address
        for operation in _each(batch)
        if not isinstance(operation, Put) or operation.condition is not None
    }
    return list(needed.values())


def revisions_needed(batch: Sequence[Operation]) -> int:
    """As many revisions as these operations could use at most."""
    return sum(isinstance(operation, Put | Rewrite) for operation in _each(batch))


def make(batch: Sequence[Operation], found: Mapping[bytes, Found], last_revision: int, now: int) -> Plan:
    """Decide about all operations, in order; each sees what those before it did.

    `found` has what is stored for the keys of `to_look_up`, by their first row id. `now` is in milliseconds
    since 1970. A transaction whose condition fails changes nothing.
    """
    planner = _Planner(found, last_revision, now)
    outcomes = [planner.decide(operation) for operation in batch]
    return Plan(outcomes, list(planner.changes.values()), planner.revision)


def _each(batch: Sequence[Operation]) -> Iterator[KeyOperation | Rewrite]:
    for operation in batch:
        if isinstance(operation, Transaction):
            yield from operation.operations
        else:
            yield operation


class _Planner:
    def __init__(self, found: Mapping[bytes, Found], revision: int, now: int) -> None:
        self._found = found
        self._now = now
        self.revision = revision
        self.changes: dict[bytes, Change] = {}

    def decide(self, operation: Operation) -> Outcome:
        if isinstance(operation, Transaction):
            return self._all_or_nothing(operation)
        if isinstance(operation, Rewrite):
            return self._rewrite(operation)
        return self._one(operation)

    def _all_or_nothing(self, transaction: Transaction) -> Outcome:
        before = dict(self.changes)
        results: list[int | bool | Found | None] = []
        room = transaction.answer_bytes
        for index, operation in enumerate(transaction.operations):
            result = self._one(operation)
            if isinstance(result, Conflict):
                self.changes = before
                return Conflict(index)
            if isinstance(result, Row | LegacyRow):
                room -= len(result.blob if isinstance(result, Row) else result.token)
            if room < 0:
                self.changes = before
                return Excess()
            results.append(result)
        return tuple(results)

    def _one(self, operation: KeyOperation) -> int | bool | Found | Conflict | None:
        address = operation.address
        if isinstance(operation, Get):
            return self._current(address)
        condition = operation.condition
        if condition is not None and not condition.holds(self._current(address)):
            return Conflict(0)
        if isinstance(operation, Delete):
            deleted = self._current(address) is not None
            self._change(address, None)
            return deleted
        self.revision += 1
        self._change(address, Row(address.row_ids[0], self.revision, operation.expires_at, operation.blob))
        return self.revision

    def _rewrite(self, operation: Rewrite) -> int | None:
        address, found = operation.address, operation.found
        current = self._current(address)
        if isinstance(found, LegacyRow):
            if current != found:
                return None
            self.revision += 1
            row = Row(address.row_ids[0], self.revision, None, operation.blob)
        else:
            same = isinstance(current, Row) and current.row_id == found.row_id
            if not same or current.revision != found.revision:  # type: ignore[union-attr]
                return None
            row = Row(address.row_ids[0], found.revision, found.expires_at, operation.blob)
        self._change(address, row)
        return row.revision

    def _current(self, address: Address) -> Found | None:
        identity = address.row_ids[0]
        change = self.changes.get(identity)
        return alive(self._found.get(identity) if change is None else change.row, self._now)

    def _change(self, address: Address, row: Row | None) -> None:
        self.changes[address.row_ids[0]] = Change(address, row)
