"""The lines of an export, followed from the first to the last: whether they are whole and unchanged.

What comes in between is never decoded: the checksum of the last line says that it is what the server sent. It
finds damage. It is no signature: who may import may also write.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Any, Final

from dumbkv_server.api.transfer_types import FORMAT

from .api import CommandError, refusal

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
READ_BYTES: Final = 256 * 1024
ROW: Final = b'{"row_id":'


@dataclass
class Check:
    """Is given one line after the other; `end` is the last one, once it has come and is right."""

    header: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256()

    def is_row(self, line: bytes) -> bool:
        """Whether the next line is a row. CommandError where the line cannot be the next one."""
        if self.end:
            raise CommandError("this export goes on after its end: is it two in one?")
        self.size += len(line)
        if not self.header:
            self.header = _object(line)
            if self.header.get("format") != FORMAT:
                raise CommandError(f"this is no export of DumbKV: its first line has no format {FORMAT}")
        elif line.startswith(ROW):
            self.rows += 1
            self._digest.update(line)
            return True
        else:
            self._finish(_object(line))
            return False
        self._digest.update(line)
        return False

    def require_end(self) -> None:
        """CommandError where the lines were not all that there should be."""
        if not self.header:
            raise CommandError("this is no export of DumbKV: it has no whole line")
        if not self.end:
            raise CommandError(f"this export is not whole: it breaks off after {self.rows} rows")

    def _finish(self, end: dict[str, Any]) -> None:
        if "code" in end:
            raise refusal(end, "the server could not finish the export")
        if (end.get("rows"), end.get("sha256")) != (self.rows, self._digest.hexdigest()):
            raise CommandError("this export was altered or damaged: its checksum does not match")
        self.end = end


def _object(line: bytes) -> dict[str, Any]:
    try:
        decoded = json.loads(line)
    except (ValueError, RecursionError):
        decoded = None
    if not isinstance(decoded, dict):
        raise CommandError("this is no export of DumbKV, or it is damaged: a line of it is no JSON object")
    return decoded


def split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines, each with its newline, from pieces of any size. What follows the last newline is dropped."""
    rest: list[bytes] = []
    size = 0
    for chunk in chunks:
        first, newline, others = chunk.partition(b"\n")
        rest.append(first)
        size += len(first)
        if size > MAX_LINE_BYTES:
            raise CommandError(
                f"this is no export of DumbKV: a line of it has more than {MAX_LINE_BYTES} bytes"
            )
        if not newline:
            continue
        yield b"".join(rest) + newline
        *lines, last = others.split(b"\n")
        for line in lines:
            yield line + b"\n"
        rest, size = [last], len(last)


def read(file: BufferedReader) -> Iterator[bytes]:
    """The lines of a file, never more of them in memory than must be."""
    return split(iter(lambda: file.read1(READ_BYTES), b""))
