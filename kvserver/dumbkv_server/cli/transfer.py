"""The commands export and import: all rows of a store, hashed and sealed as they are."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from . import lines
from .api import INTERRUPTED, CommandError, Session
from .options import DEFAULT_URL, Format, Output, TokenFile, Url, api
from .progress import rows_and_bytes
from .streams import STANDARD, print_json, reading, writing

# What is sent at once. Each piece is one transaction, so one that is interrupted has whole pieces.
PIECE_ROWS: Final = 1000
PIECE_BYTES: Final = 1024 * 1024
# A server that has too much to do, or whose database is away for a moment, is asked again.
ATTEMPTS: Final = 30
BUSY: Final = {
    "database-unavailable",
    "draining",
    "too-many-connections",
    "too-many-requests",
    "write-queue-full",
}


class Existing(StrEnum):
    """What becomes of keys that the store has already."""

    REFUSE = "refuse"
    KEEP = "keep"
    REPLACE = "replace"


def export_rows(
    file: Annotated[Path, typer.Argument(help="Where to write it; - is standard output.")],
    without_legacy: Annotated[
        bool,
        typer.Option("--without-legacy", help="Leave out rows of the original DumbKV, which are no secret."),
    ] = False,
    output: Format = Output.TEXT,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Write all rows of the store to a file, keys hashed and values sealed as in the database.

    The file is one moment of the store, whatever is written meanwhile. It can be read only with the peppers
    of the server that it comes from: back those up as well. It gets its name when it is whole: an export that
    fails leaves what had the name before. Needs a token with the scope admin.

    Example: `dumbkv export backup.dumbkv`

    Example: `dumbkv export - | zstd > backup.zst`
    """
    if output is Output.JSON and file == STANDARD:
        raise typer.BadParameter("standard output has the export: with -o json, give a file")
    check = lines.Check()
    parameters = {"legacy": "omit"} if without_legacy else {}
    with (
        api(url, token_file).session() as session,
        session.chunks("/export", parameters) as chunks,
        writing(file) as target,
        rows_and_bytes("exporting") as progress,
    ):
        for line in lines.split(chunks):
            check.is_row(line)
            target.write(line)
            progress.to(check.size, check.rows)
        check.require_end()
    left_out = int(check.header.get("legacy_rows", 0))
    if output is Output.JSON:
        size = {"bytes": check.size, "legacy_rows_left_out": left_out}
        print_json({"rows": check.rows, "sha256": check.end["sha256"], **size})
        return
    typer.echo(f"exported {check.rows} rows, {check.size} bytes", err=True)
    if left_out:
        typer.echo(f"{left_out} rows of the original DumbKV are not among them", err=True)


@dataclass
class Totals:
    """What became of the rows so far."""

    imported: int = 0
    existing: int = 0
    expired: int = 0

    def add(self, answer: dict[str, Any]) -> None:
        """Count what one piece came to."""
        self.imported += int(answer["imported"])
        self.existing += int(answer["existing"])
        self.expired += int(answer["expired"])

    def text(self) -> str:
        """In words."""
        return (
            f"imported {self.imported} rows, skipped {self.existing + self.expired} "
            f"({self.existing} were there already, {self.expired} had expired)"
        )


def import_rows(
    file: Annotated[Path, typer.Argument(help="What export wrote; - is standard input.")],
    existing: Annotated[
        Existing, typer.Option(help="What becomes of keys that are there: refuse to begin, keep, or replace.")
    ] = Existing.REFUSE,
    output: Format = Output.TEXT,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Bring the rows of an export into a store that has the same peppers.

    Into a new store this is a restore: values, revisions and expiries are those of the export. Where the
    store has keys, say `--existing keep` or `--existing replace`; keys that only the store has stay in both
    cases. Where the store has given revisions before, rows get new ones, in the same order.

    A file is looked through before the first row is sent: of one that is damaged or not whole nothing is
    imported. A pipe cannot be; where it turns out to be damaged, what was imported is told. To go on after an
    interruption, import again with `--existing keep`. Needs a token with the scope admin.

    Example: `dumbkv import backup.dumbkv`

    Example: `zstd -dc backup.zst | dumbkv import -`
    """
    totals = Totals()
    try:
        with reading(file) as source, api(url, token_file).session() as session:
            used = _look_through(source)
            _import(session, source, existing, used, totals)
    except CommandError as error:
        hint = " --existing keep or --existing replace does." if error.code == "not-empty" else ""
        raise CommandError(f"{error}{hint}{_so_far(totals)}", error.exit_code) from None
    except KeyboardInterrupt:
        raise CommandError(f"interrupted{_so_far(totals)}", INTERRUPTED) from None
    if output is Output.JSON:
        print_json(asdict(totals))
    else:
        typer.echo(totals.text(), err=True)


def _so_far(totals: Totals) -> str:
    if not totals.imported + totals.existing + totals.expired:
        return " (nothing was imported)"
    return f" (before that: {totals.text()})"


def _look_through(source: BufferedReader) -> set[int] | None:
    """Look at all of a file: the peppers that its rows are under. None for what cannot be rewound."""
    if not source.seekable():
        return None
    start = source.tell()
    check = lines.Check()
    with rows_and_bytes("checking", os.fstat(source.fileno()).st_size - start) as progress:
        for line in lines.read(source):
            check.is_row(line)
            progress.to(check.size, check.rows)
    check.require_end()
    source.seek(start)
    return set(check.end["peppers"])


def _import(
    session: Session, source: BufferedReader, existing: Existing, used: set[int] | None, totals: Totals
) -> None:
    check = lines.Check()
    piece: list[bytes] = []
    size = 0
    send: Callable[[list[bytes]], None] | None = None
    total = os.fstat(source.fileno()).st_size if source.seekable() else None
    with rows_and_bytes("importing", total) as progress:
        for line in lines.read(source):
            is_row = check.is_row(line)
            if send is None:
                send = _start(session, check.header, existing, used, totals)
            if not is_row:
                continue
            piece.append(line)
            size += len(line)
            if size >= PIECE_BYTES or len(piece) == PIECE_ROWS:
                send(piece)
                piece, size = [], 0
                progress.to(check.size, check.rows)
        if send is not None and piece:
            send(piece)
        check.require_end()


def _start(
    session: Session, header: dict[str, Any], existing: Existing, used: set[int] | None, totals: Totals
) -> Callable[[list[bytes]], None]:
    """Ask the server whether it takes these rows: what sends some of them."""
    peppers = [pepper for pepper in header["peppers"] if used is None or pepper["number"] in used]
    wanted = {"peppers": peppers, "last_revision": header["last_revision"], "existing": existing}
    offset = int(session.send("POST", "/import/start", wanted)["offset"])
    replace = b"true" if existing is Existing.REPLACE else b"false"
    before = b'{"offset":%d,"replace":%s,"rows":[' % (offset, replace)

    def send(piece: list[bytes]) -> None:
        body = before + b",".join(piece) + b"]}"
        for attempt in range(1, ATTEMPTS + 1):
            try:
                totals.add(session.send_bytes("POST", "/import", body))
                return
            except CommandError as error:
                if error.code not in BUSY or attempt == ATTEMPTS:
                    raise
                time.sleep(1)

    return send
