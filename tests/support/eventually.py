"""Waits for what a cluster comes to by itself."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def eventually(
    probe: Callable[[], Found | None], what: str, timeout: float = 60, every: float = 0.1
) -> Found:
    """Returns the first truthy answer of `probe`, asked again for `timeout` seconds, `every` so many.

    Raises AssertionError that names `what` was waited for and the last answer.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:.0f} s: {what} (last: {found!r})")
        time.sleep(every)
