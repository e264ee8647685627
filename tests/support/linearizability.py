"""Is there an order of concurrent operations, each at one moment of its own time, that explains all answers?

The search is Wing and Gong's with Lowe's memory of visited states (G. Lowe, Testing for linearizability,
Concurrency and Computation 29(4), 2017). Keys are independent, so each is judged by itself.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

State = tuple[int, str] | None
"""Revision and value of a key, or None where there is no such key."""


@dataclass(frozen=True)
class Operation:
    """One call and its answer; times in seconds of one clock.

    `revision` is the answered one of a put and of a get that found something, None for a get that found
    nothing. `done` says whether a put or a delete was done (False: the condition failed, or no such key).
    An operation without `answered` may have been done at any time after its start, or never.
    """

    kind: Literal["put", "get", "delete"]
    key: str
    started: float
    ended: float = inf
    answered: bool = False
    value: str | None = None
    revision: int | None = None
    done: bool = True
    if_revision: int | None = None
    if_absent: bool = False
    conflict: bool = False


def explains(history: Iterable[Operation]) -> bool:
    """Whether the history is that of one store that does one operation after the other."""
    of_key: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        of_key[operation.key].append(operation)
    return all(_has_order(_with_revisions(operations)) for operations in of_key.values())


def _with_revisions(operations: list[Operation]) -> list[Operation]:
    """Tell puts without an answer the revision that a get saw their value with: each value is another."""
    seen = {operation.value: operation.revision for operation in operations if operation.kind == "get"}
    return [
        replace(operation, revision=seen.get(operation.value))
        if operation.kind == "put" and not operation.answered
        else operation
        for operation in operations
    ]


def _has_order(operations: list[Operation]) -> bool:
    everything = sorted(operations, key=lambda operation: operation.started)
    all_answered = sum(1 << index for index, operation in enumerate(everything) if operation.answered)
    visited: set[tuple[int, State]] = set()
    to_visit: list[tuple[int, State]] = [(0, None)]
    while to_visit:
        done, state = to_visit.pop()
        if done & all_answered == all_answered:
            return True
        if (done, state) in visited:
            continue
        visited.add((done, state))
        left = [index for index in range(len(everything)) if not done >> index & 1]
        # What started after another had ended comes after it.
        first_end = min(everything[index].ended for index in left)
        for index in left:
            operation = everything[index]
            if operation.started > first_end:
                break
            to_visit += [(done | 1 << index, after) for after in _after(operation, state)]
    return False


def _after(operation: Operation, state: State) -> list[State]:
    """The states that may follow, none where the answer does not fit the state."""
    holds = _condition_holds(operation, state)
    if operation.kind == "get":
        seen = None if operation.revision is None else (operation.revision, operation.value)
        return [state] if not operation.answered or seen == state else []
    if operation.answered and operation.conflict:
        return [] if holds else [state]
    if not holds:
        return []
    if operation.kind == "delete":
        return [None] if not operation.answered or operation.done == (state is not None) else []
    assert operation.value is not None
    # A revision that nobody was told can be any, and no condition asks for it.
    revision = operation.revision or (0 if state is None else state[0])
    later = state is None or revision > state[0] or not operation.answered
    return [(revision, operation.value)] if later else []


def _condition_holds(operation: Operation, state: State) -> bool:
    if operation.if_absent:
        return state is None
    if operation.if_revision is not None:
        return state is not None and state[0] == operation.if_revision
    return True
