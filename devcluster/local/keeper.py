"""Process 1 of a namespace: starts programs, starts them again when they end, and reaps what is orphaned.

It never stops them: when process 1 ends, the kernel ends everything in its namespace.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devcluster import cache

RESTART_DELAY = 1.0
# Blocked before anything starts, so that none is lost between two looks.
SIGNALS = {signal.SIGCHLD, signal.SIGHUP}


@dataclass(frozen=True)
class Process:
    """A program to keep running."""

    name: str
    arguments: Sequence[str]
    log: Path
    restart: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Record:
    pid: int = 0
    exits: int = 0
    last: str = ""
    due: float | None = None


class Keeper:
    """Keeps the processes that `wanted` names; asks it again on SIGHUP.

    `started` is called with each process and its pid. `state` is a JSON file that says, for people and for
    `up`, which pid each has, how often it ended and how.
    """

    def __init__(
        self,
        state: Path,
        wanted: Callable[[], Sequence[Process]],
        started: Callable[[Process, int], None] | None = None,
    ) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._state = state
        self._wanted = wanted
        self._started = started
        self._processes: dict[str, Process] = {}
        self._records: dict[str, _Record] = {}

    def run(self) -> None:
        """Keep them until this process is killed."""
        self._start_missing()
        while True:
            received = signal.sigtimedwait(SIGNALS, self._delay())
            if received is not None and received.si_signo == signal.SIGHUP:
                self._start_missing()
            self._reap()
            self._start_due()

    def start(self, process: Process) -> None:
        """Start this one now."""
        process.log.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            process.arguments[0],
            list(process.arguments),
            {**os.environ, **process.environment},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(process.log), flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsigmask=[],
        )
        self._processes[process.name] = process
        record = self._records.setdefault(process.name, _Record())
        record.pid, record.due = pid, None
        if self._started is not None:
            self._started(process, pid)
        self._save()

    def _start_missing(self) -> None:
        for process in self._wanted():
            if process.name not in self._records or self._records[process.name].pid == 0:
                self.start(process)

    def _start_due(self) -> None:
        now = time.monotonic()
        for name, record in self._records.items():
            if record.due is not None and record.due <= now:
                self.start(self._processes[name])

    def _delay(self) -> float:
        """Seconds until the next restart, an hour where none is due."""
        due = [record.due for record in self._records.values() if record.due is not None]
        return max(0.0, min(due) - time.monotonic()) if due else 3600.0

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for name, record in self._records.items():
                if record.pid == pid:
                    self._ended(self._processes[name], record, os.waitstatus_to_exitcode(status))

    def _ended(self, process: Process, record: _Record, code: int) -> None:
        record.pid = 0
        record.exits += 1
        record.last = f"exit status {code}" if code >= 0 else f"signal {-code}"
        if process.restart:
            record.due = time.monotonic() + RESTART_DELAY
        self._save()

    def _save(self) -> None:
        state = {
            name: {"pid": record.pid, "exits": record.exits, "last": record.last}
            for name, record in self._records.items()
        }
        cache.write(self._state, json.dumps(state, indent=2))
