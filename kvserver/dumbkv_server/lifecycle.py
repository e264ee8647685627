"""From start to stop: what is tuned once the process serves, and how it leaves."""

import asyncio
import ctypes
import gc
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType

from .store import SWEPT_AT_ONCE, Store, StoreUnavailableError
from .store.batching import ClosingError

log = logging.getLogger(__name__)
# What is under way for some hundred clients is no garbage; by default (700) every few of them cause a visit.
GARBAGE_AT_ONCE = 20_000
Handler = Callable[[int, FrameType | None], object]


class Lifecycle:
    """Whether the process drains. SIGTERM turns readiness off, then stops the server as it would have."""

    def __init__(self, store: Store, drain_delay: float, sweep_interval: float) -> None:
        self._store = store
        self._drain_delay = drain_delay
        self._sweep_interval = sweep_interval
        self.draining = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the store, serve, and on the way out answer what waits and close the store."""
        await self._store.open()
        sweeping = asyncio.create_task(self._sweep())
        former = self._watch_sigterm()
        # What exists now stays for good: the collector need not visit it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_AT_ONCE, *gc.get_threshold()[1:])
        _return_memory()
        try:
            yield
        finally:
            self.draining = True
            sweeping.cancel()
            await asyncio.wait([sweeping])
            await self._store.close()
            if former is not None:
                signal.signal(signal.SIGTERM, former)
            log.info("the database is closed")

    async def _sweep(self) -> None:
        """Delete what expired, a few rows at a time."""
        while True:
            await asyncio.sleep(self._sweep_interval)
            try:
                while await self._store.sweep() == SWEPT_AT_ONCE:
                    pass
            except (StoreUnavailableError, ClosingError):
                # The store said so in its log; what expired can wait.
                continue

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
