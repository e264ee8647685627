"""How far something is, on standard error, where that is a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Advance:
    """Is told of rows and bytes, or of what part of a whole is done."""

    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        self._progress = progress
        self._task = task

    def to(self, done: float, rows: int = 0) -> None:
        """So much is done: bytes or seconds, and rows."""
        self._progress.update(self._task, completed=done, rows=rows)


@contextmanager
def rows_and_bytes(what: str, total_bytes: int | None = None) -> Iterator[Advance]:
    """The progress of rows that are moved."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Advance(progress, progress.add_task(what, total=total_bytes, rows=0))


@contextmanager
def seconds(what: str, total: float) -> Iterator[Advance]:
    """The progress of something that takes so many seconds."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]:,} requests"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Advance(progress, progress.add_task(what, total=total, rows=0))
