"""Lets operations pass side by side, and a change of what they all use pass alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Passage:
    """`async with passage:` around an operation, `async with passage.alone():` around a change."""

    def __init__(self) -> None:
        self._inside = 0
        self._open: asyncio.Event | None = None
        self._empty: asyncio.Event | None = None

    async def __aenter__(self) -> None:
        while self._open is not None:
            await self._open.wait()
        self._inside += 1

    async def __aexit__(self, *_: object) -> None:
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
