"""Standard streams and files: what comes in is bounded, what goes out is whole or not there."""

import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, cast

import typer

from .api import CommandError

MAX_INPUT_BYTES: Final = 64 * 1024 * 1024
STANDARD: Final = Path("-")


def read_text(path: Path | None) -> str:
    """A file's text, or that of standard input."""
    name = "standard input" if path is None else str(path)
    if path is None and sys.stdin.isatty():
        typer.echo("reading standard input; end it with Ctrl-D", err=True)
    try:
        if path is None:
            data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_INPUT_BYTES + 1)
        if len(data) > MAX_INPUT_BYTES:
            raise CommandError(f"{name} has more than {MAX_INPUT_BYTES} bytes")
        return data.decode()
    except OSError as error:
        raise CommandError(f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{name} is not UTF-8 text, and values are") from None


@contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """A file to read from, or standard input for `-`."""
    if path == STANDARD:
        yield cast("BufferedReader", sys.stdin.buffer)
        return
    try:
        file = path.open("rb")
        if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
            raise IsADirectoryError(0, "it is a folder")
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from None
    with file:
        yield file


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, or standard output for `-`. The file has its name only once it is whole, on disk.

    Until then what had that name stays; where the writing fails, nothing is left. Only the owner may read it.
    """
    if path == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        # The file that a link points to is meant, and a device or a pipe cannot be replaced.
        path = path.resolve()
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        with _new_file(path) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path`, which only its owner may read; gone again where its writing is given up."""
    # Its name is known before it is made: a signal that comes in between leaves nothing either.
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            yield file
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _flush_folder(folder: Path) -> None:
    """Make the name durable, not only the content."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def print_json(answer: object) -> None:
    """Print an answer for a program: one line on standard output."""
    typer.echo(json.dumps(answer, ensure_ascii=False))
