"""Lets operations pass side by side, and a change of what they all use pass alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Passage:
    """`with passage:` around an operation, once it is not `closed`; `async with passage.alone():` a change.

    An operation asks and waits by itself: it is in the way of each request, and a coroutine more is a
    microsecond more.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._open: asyncio.Event | None = None
        self._empty: asyncio.Event | None = None

    @property
    def closed(self) -> bool:
        """Whether a change keeps operations out."""
        return self._open is not None

    async def opened(self) -> None:
        """Return when no change keeps operations out."""
        while self._open is not None:
            await self._open.wait()

    def __enter__(self) -> None:
        self._inside += 1

    def __exit__(self, *_: object) -> None:
        self._inside -= 1
        if self._empty is not None and not self._inside:
            self._empty.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Keep others out, wait until nobody is inside, and let them in again at the end.

        Only one task makes changes.
        """
        self._open, self._empty = asyncio.Event(), asyncio.Event()
        try:
            if self._inside:
                await self._empty.wait()
            yield
        finally:
            self._open.set()
            self._open = self._empty = None
