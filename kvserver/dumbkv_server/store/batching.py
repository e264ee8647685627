"""Group commit: whatever waits is handed over together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class QueueFullError(Exception):
    """More items wait than the limit allows."""


class ClosingError(Exception):
    """The process is stopping and takes no more work."""


class Batcher(Generic[Item, Answer]):
    """Collects items while a batch is being handled, and hands over all of them as the next one.

    No timer is involved: an item that comes alone is handled at once, alone.
    """

    def __init__(
        self,
        handle: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        limit: int | None = None,
        workers: int = 1,
        at_once: int | None = None,
    ) -> None:
        self._handle = handle
        self._limit = limit
        self._idle = workers
        self._at_once = at_once
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """A future with this item's answer; QueueFullError or ClosingError where it cannot be taken."""
        if self._closing:
            raise ClosingError
        if self._limit is not None and len(self._waiting) >= self._limit:
            raise QueueFullError
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._idle:
            self._idle -= 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return future

    def waiting(self) -> int:
        """How many items wait for the next batch."""
        return len(self._waiting)

    async def close(self) -> None:
        """Take nothing more, and return when all that waited is answered."""
        self._closing = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _work(self) -> None:
        while self._waiting:
            batch = self._waiting[: self._at_once]
            del self._waiting[: self._at_once]
            try:
                answers = await self._handle([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001 (each waiting caller gets it)
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
        self._idle += 1
