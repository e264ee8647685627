"""From start to stop: what is tuned once the process serves, and how it leaves."""

import asyncio
import ctypes
import gc
import logging
import resource
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import FrameType

from .store import SWEPT_AT_ONCE, Store, StoreUnavailableError
from .store.batching import ClosingError

log = logging.getLogger(__name__)
# What is under way for some hundred clients is no garbage; by default (700) every few of them cause a visit.
GARBAGE_AT_ONCE = 20_000
# Its number is in prctl(2).
PR_SET_DUMPABLE = 4
Handler = Callable[[int, FrameType | None], object]


class Lifecycle:
    """Whether the process drains. SIGTERM turns readiness off, then stops the server as it would have."""

    def __init__(self, store: Store, drain_delay: float, sweep_interval: float) -> None:
        self._store = store
        self._drain_delay = drain_delay
        self._work: list[Callable[[], Coroutine[object, object, None]]] = [
            lambda: _sweep(store, sweep_interval)
        ]
        self.draining = False
        self.failure: str | None = None
        """Why the process must be started again."""

    def beside(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Do this too while the process serves, until it is cancelled."""
        self._work.append(work)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the store, serve, and on the way out answer what waits and close the store."""
        await self._store.open()
        former = self._watch_sigterm()
        tasks = [asyncio.create_task(work()) for work in self._work]
        if former is not None:
            tasks.append(asyncio.create_task(self._leave_when_broken()))
        # What exists now stays for good: the collector need not visit it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_AT_ONCE, *gc.get_threshold()[1:])
        _return_memory()
        try:
            yield
        finally:
            self.draining = True
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._store.close()
            if former is not None:
                signal.signal(signal.SIGTERM, former)
            log.info("the database is closed")

    async def _leave_when_broken(self) -> None:
        """Stop as with SIGTERM where only a restart can help: what is under way is answered."""
        await self._store.broken.wait()
        self.failure = "the database failed and only a restart can help, the log above says how: exiting"
        self.draining = True
        signal.raise_signal(signal.SIGTERM)

    def _watch_sigterm(self) -> Handler | None:
        """Put our handler before the server's; None where signals are not ours (tests, threads)."""
        if threading.current_thread() is not threading.main_thread():
            return None
        former = signal.getsignal(signal.SIGTERM)
        if not callable(former):
            return None
        stop = former
        loop = asyncio.get_running_loop()

        def drain(number: int, frame: FrameType | None) -> None:
            if self.draining or not self._drain_delay:
                self.draining = True
                stop(number, frame)
                return
            self.draining = True
            loop.call_soon_threadsafe(loop.call_later, self._drain_delay, stop, number, frame)

        signal.signal(signal.SIGTERM, drain)
        return former


def _return_memory() -> None:
    """Give the system back what only the imports needed: some mebibytes, where libc can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


async def _sweep(store: Store, interval: float) -> None:
    """Delete what expired, a few rows at a time."""
    while True:
        await asyncio.sleep(interval)
        try:
            while await store.sweep() == SWEPT_AT_ONCE:
                pass
        except (StoreUnavailableError, ClosingError):
            # The store said so in its log; what expired can wait.
            continue


def forbid_core_dumps() -> None:
    """Have the kernel write no image of this process, nor let others of its user read its memory (Linux)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The limit does not hold where the kernel hands a core to a program (core(5)); this holds there too.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
