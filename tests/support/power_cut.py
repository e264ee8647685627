"""The files that can be on a disk after a power cut, from a recording of what was asked of it.

The model is harsher than a usual disk and file system:
- Only a sync makes anything durable: of a file its content and size, of the directory its names. Syncing a
  file does not keep its name.
- Of what was not synced any subset may be there, in any order: later writes without earlier ones. What was
  written beyond the end of a file that did not grow reads as zeros in the gaps.
- A write may be torn into sectors of 512 bytes, of which any subset is there. Bytes beside a write stay.
- A file that is created, removed and created again has two contents, and the name may lead to either.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.recording_vfs import Create, Event, Remove, Sync, SyncDirectory, Truncate, Write

SECTOR_BYTES = 512
Files = dict[str, bytes]


@dataclass
class _Content:
    """One file's bytes on disk, and what was asked since its last sync."""

    durable: bytearray = field(default_factory=bytearray)
    waiting: list[Write | Truncate] = field(default_factory=list)

    def after(self, kept: list[Write | Truncate]) -> bytes:
        content = bytearray(self.durable)
        for change in kept:
            _apply(content, change)
        return bytes(content)


class Disk:
    """What is durable and what waits, after each event that it is told."""

    def __init__(self) -> None:
        self._durable: dict[str, _Content] = {}
        self._waiting: list[tuple[str, _Content | None]] = []
        self._now: dict[str, _Content] = {}
        self._last: Write | None = None

    def tell(self, event: Event) -> None:
        self._last = event if isinstance(event, Write) else None
        match event:
            case Create(name):
                self._now[name] = _Content()
                self._waiting.append((name, self._now[name]))
            case Remove(name):
                del self._now[name]
                self._waiting.append((name, None))
            case Write(name) | Truncate(name):
                self._file(name).waiting.append(event)
            case Sync(name):
                content = self._file(name)
                content.durable = bytearray(content.after(content.waiting))
                content.waiting = []
            case SyncDirectory(names):
                for name in names - self._now.keys():
                    self._now[name] = _Content()
                self._durable = {name: content for name, content in self._now.items() if name in names}
                self._waiting = []

    def _file(self, name: str) -> _Content:
        """The file of that name; one that others made, and whose name nobody synced, may be lost."""
        if name not in self._now:
            self.tell(Create(name))
        return self._now[name]

    def everything(self) -> Files:
        """The files where all was kept: a killed process, not a power cut."""
        return {name: content.after(content.waiting) for name, content in self._now.items()}

    def cuts(self, choice: random.Random, subsets: int) -> Iterator[Files]:
        """Files that may be there if the power is cut now: the two extremes, a torn write, random subsets."""
        yield {name: bytes(content.durable) for name, content in self._durable.items()}
        yield self.everything()
        if self._last is not None:
            yield self._torn(self._last, choice)
        for _ in range(subsets):
            # One cut loses much, another little.
            share = choice.random()
            yield {
                name: content.after([each for each in content.waiting if choice.random() < share])
                for name, content in self._names(choice, share).items()
            }

    def _torn(self, last: Write, choice: random.Random) -> Files:
        """All is there but some sectors of the last write."""
        files = self.everything()
        content = self._now[last.name]
        kept = [*content.waiting[:-1], *_sectors(last, choice)]
        return {**files, last.name: content.after(kept)}

    def _names(self, choice: random.Random, share: float) -> dict[str, _Content]:
        names = dict(self._durable)
        for name, content in self._waiting:
            if choice.random() < share:
                if content is None:
                    names.pop(name, None)
                else:
                    names[name] = content
        return names


def _sectors(write: Write, choice: random.Random) -> Iterator[Write]:
    """Some of the sectors that a write touches, each with its part of it."""
    start, end = write.offset, write.offset + len(write.data)
    while start < end:
        stop = min(end, start - start % SECTOR_BYTES + SECTOR_BYTES)
        if choice.random() < 0.5:
            yield Write(write.name, start, write.data[start - write.offset : stop - write.offset])
        start = stop


def _apply(content: bytearray, change: Write | Truncate) -> None:
    if isinstance(change, Truncate):
        del content[change.size :]
        content.extend(bytes(max(0, change.size - len(content))))
        return
    content.extend(bytes(max(0, change.offset - len(content))))
    content[change.offset : change.offset + len(change.data)] = change.data
