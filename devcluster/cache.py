"""Where all that can be made again is kept, and how a file gets there without ever being half there."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def root() -> Path:
    """The project's cache folder: `$XDG_CACHE_HOME/dumbkv`, by default `~/.cache/dumbkv`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dumbkv"


def folder(*names: str) -> Path:
    """The folder of these names below the cache's root, made if it is missing."""
    path = root().joinpath(*names)
    path.mkdir(parents=True, exist_ok=True)
    return path


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    """Write the text as a whole or not at all: a reader never sees a part of it. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(text)
    temporary = Path(file.name)
    temporary.chmod(mode)
    temporary.replace(path)
    return path


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the lock of this name against every other process of this user; it ends with the process."""
    path = folder("locks") / name
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
