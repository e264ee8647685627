"""The queue of resources to reconcile.

As client-go's work queue: a key that is put while it waits is there once; a key that is put while it is
reconciled runs again afterwards, never at the same time; one that fails comes back later and later.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from dumbkv_operator import metrics
from dumbkv_operator.informer import Key

logger = logging.getLogger(__name__)

FIRST_RETRY: Final = 0.25
LAST_RETRY: Final = 60.0

Handler = Callable[[Key], Awaitable[None]]
Clock = Callable[[], float]
Schedule = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class ReconcileError(Exception):
    """A reconcile that has said in the resource's conditions why it failed: it is only to be tried again."""


def delay_after(failures: int, jitter: float) -> float:
    """Return the seconds to wait after so many failures in a row; `jitter` is from 0 to 1.

    It doubles from FIRST_RETRY to LAST_RETRY. Up to half is taken off at random, so that resources which
    failed together do not come back together.
    """
    # The exponent is bounded before it is used: a float overflows after a thousand failures.
    return min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 30)) * (1 - jitter / 2)


class Queue:
    """Keys that wait. `clock` gives seconds, `schedule` calls back after seconds: tests turn them by hand."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        schedule: Schedule | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock or time.monotonic
        self._schedule = schedule or (
            lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call)
        )
        self._jitter = jitter
        self._waiting: dict[Key, float] = {}
        self._order: deque[Key] = deque()
        self._running: set[Key] = set()
        self._again: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, tuple[float, asyncio.TimerHandle]] = {}
        self._arrival = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._again)

    @property
    def oldest_seconds(self) -> float:
        """How long the key that waits longest has waited for a worker; 0 when none waits."""
        since = list(self._waiting.values())  # A copy: metrics are read by another thread.
        return self._clock() - min(since) if since else 0.0

    def put(self, key: Key) -> None:
        """Ask for a reconcile of `key` as soon as a worker is free."""
        self._forget_timer(key)
        if key in self._running:
            self._again.setdefault(key, self._clock())
        elif key not in self._waiting:
            self._waiting[key] = self._clock()
            self._order.append(key)
            self._arrival.set()

    def put_after(self, key: Key, seconds: float) -> None:
        """Ask for a reconcile of `key` in `seconds`, or sooner if one is due sooner."""
        due = self._clock() + seconds
        if key in self._timers and self._timers[key][0] <= due:
            return
        self._forget_timer(key)
        self._timers[key] = due, self._schedule(seconds, lambda: self.put(key))

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a resource that is gone."""
        self._failures.pop(key, None)
        self._forget_timer(key)

    async def run(self, handler: Handler, workers: int) -> None:
        """Call `handler` for each key, at most `workers` at a time; cancellation stops them all at once."""
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._work(handler), name=f"worker {number}")

    async def _work(self, handler: Handler) -> None:
        while True:
            key = await self._take()
            try:
                with metrics.RECONCILE_DURATION.time():
                    await handler(key)
            except asyncio.CancelledError:
                # Another operator may hold the Lease now. Should it come back, this key is due at once.
                self._again.setdefault(key, self._clock())
                raise
            except ReconcileError as error:
                logger.warning("%s/%s: %s", *key, error)
                self._retry(key)
            except Exception:
                # One broken resource must not stop the others: it is logged, counted and tried again.
                logger.exception("%s/%s: the reconcile failed unexpectedly", *key)
                self._retry(key)
            else:
                metrics.RECONCILES.labels("success").inc()
                self._failures.pop(key, None)
            finally:
                self._done(key)

    async def _take(self) -> Key:
        while not self._order:
            self._arrival.clear()
            await self._arrival.wait()
        key = self._order.popleft()
        del self._waiting[key]
        self._running.add(key)
        return key

    def _done(self, key: Key) -> None:
        self._running.discard(key)
        if (since := self._again.pop(key, None)) is not None:
            self.put(key)
            self._waiting[key] = since

    def _retry(self, key: Key) -> None:
        metrics.RECONCILES.labels("error").inc()
        self._failures[key] = self._failures.get(key, 0) + 1
        self.put_after(key, delay_after(self._failures[key], self._jitter()))

    def _forget_timer(self, key: Key) -> None:
        if timer := self._timers.pop(key, None):
            timer[1].cancel()
