"""The command bench: a small load, and how the server took it."""

import asyncio
import signal
from typing import Annotated, Any

import typer

from dumbkv_server.api.types import LAST_DATABASE

from .api import FAILED, INTERRUPTED, CommandError
from .load import Load, Measured, Run
from .options import DEFAULT_URL, Database, Format, Output, TokenFile, Url, api
from .progress import seconds as seconds_of
from .streams import print_json


def bench(
    seconds: Annotated[float, typer.Option("--seconds", "-s", min=0.1, max=600, help="How long.")] = 10,
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, max=256, help="Requests at a time.")
    ] = 16,
    reads: Annotated[int, typer.Option(min=0, max=100, help="Percent of reads; the rest are writes.")] = 50,
    value_bytes: Annotated[int, typer.Option(min=0, max=1024 * 1024, help="Size of a value.")] = 100,
    keys: Annotated[int, typer.Option(min=1, max=100_000, help="How many keys are used.")] = 1000,
    database: Database = LAST_DATABASE,
    output: Format = Output.TEXT,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Put a small load on a running server, and print how many requests it answered how fast.

    It uses keys of its own in a database of its own, deletes them afterwards, and lets them expire where it
    cannot. Ctrl-C ends it earlier, with what was measured so far. Percentiles are those of this client, on
    its machine, with its network. Needs a token with the scopes read and write.

    Example: `dumbkv bench --seconds 30 --concurrency 64 --reads 90`
    """
    run = Run(api(url, token_file), Load(seconds, concurrency, keys, value_bytes, reads, database))
    try:
        run.prepare()
        interrupted = asyncio.run(_measure(run, seconds))
    finally:
        left = _finish(run)
    if output is Output.JSON:
        print_json(_summary(run))
    else:
        _print(run)
    if left:
        typer.echo(f"the keys of this run are left, and expire: {left}", err=True)
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if not run.reads.seconds and not run.writes.seconds:
        raise typer.Exit(FAILED)


async def _measure(run: Run, seconds: float) -> bool:
    """Whether it was interrupted."""
    with seconds_of("measuring", seconds) as progress:
        measuring = asyncio.ensure_future(run.measure(lambda done: progress.to(done, run.requests)))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, measuring.cancel)
        try:
            await measuring
        except asyncio.CancelledError:
            return True
        finally:
            # From now on Ctrl-C means: leave the keys.
            loop.remove_signal_handler(signal.SIGINT)
    return False


def _finish(run: Run) -> str:
    """Delete the keys; why they are still there, or nothing."""
    try:
        run.finish()
    except CommandError as error:
        return str(error)
    return ""


def _summary(run: Run) -> dict[str, Any]:
    return {"seconds": round(run.elapsed, 3)} | {
        name: {
            "answered": len(kind.seconds),
            "per_second": round(_rate(run, kind), 1),
            "p50_ms": _rounded(kind.percentile(50)),
            "p99_ms": _rounded(kind.percentile(99)),
            "errors": dict(kind.errors),
        }
        for name, kind in (("reads", run.reads), ("writes", run.writes))
    }


def _print(run: Run) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "answered", "per second", "p50 ms", "p99 ms", "errors")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, kind in (("reads", run.reads), ("writes", run.writes)):
        errors = ", ".join(f"{count} {error}" for error, count in kind.errors.most_common()) or "0"
        times = [f"{value:.2f}" if value is not None else "-" for value in map(kind.percentile, (50, 99))]
        table.add_row(name, f"{len(kind.seconds)}", f"{_rate(run, kind):.0f}", *times, errors)
    Console().print(table)


def _rate(run: Run, kind: Measured) -> float:
    return len(kind.seconds) / run.elapsed if run.elapsed else 0.0


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
