"""Files that hold secrets: read with a limit, and followed while the process runs."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

log = logging.getLogger(__name__)
Content = TypeVar("Content")

# A Secret of Kubernetes has at most this.
MAX_BYTES = 1024 * 1024
# How long what was taken out of a file may still hold, beside what the platform takes to change the file.
SECONDS_BETWEEN_LOOKS = 1.0


def read(path: Path) -> str:
    """The text of a file; ValueError says what is wrong with it and shows nothing of it."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"cannot read {path}: it is larger than {MAX_BYTES} bytes")
        return content.decode().strip()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"cannot read {path}: it is not UTF-8 text") from None


class Followed(Generic[Content]):
    """A file that was read at the start and may change: `parse` raises ValueError where it is wrong."""

    def __init__(self, path: Path, text: str, parse: Callable[[str], Content], name: str) -> None:
        self._path = path
        self._text = text.strip()
        self._parse = parse
        self._name = name
        # Nothing was seen: a change between the start's reading and the first look is found too.
        self._seen: tuple[int, int, int] | None = (0, 0, 0)
        self._next_look = 0.0

    def changed(self) -> Content | None:
        """What the file holds now, where that is new; else None. It looks at most once a second.

        A file that is wrong or away is told in the log, once, and never with what is in it.
        """
        now = time.monotonic()
        if now < self._next_look:
            return None
        self._next_look = now + SECONDS_BETWEEN_LOOKS
        identity = _identity(self._path)
        if identity == self._seen:
            return None
        self._seen = identity
        try:
            text = read(self._path)
            if text == self._text:
                return None
            content = self._parse(text)
        except ValueError as error:
            log.error("the changed %s is not used, the former stays: %s", self._name, error)
            return None
        self._text = text
        return content


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is edited or replaced; None while it is away."""
    try:
        status = os.stat(path)  # noqa: PTH116 (half the time of Path.stat, once a second in the request's way)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
