"""Durable writes and reads a second, and their latency, of DumbKV and of its peers on the same machine.

One core for the server, one for the load; 32 connections, 100-byte values. Each round starts every server
in turn on an empty folder, so that what else the machine does meets all of them; ratios are taken within a
round.
"""

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from devcluster.console import note, step

from . import report
from .contenders import CONTENDERS, Contender, Running, StartError
from .load import SERVER_CORE, LoadError, core, fill, run
from .report import Figures

FLUSHED_BYTES = 4096


def main(
    seconds: Annotated[float, typer.Option(help="seconds of each measurement", min=1)] = 5,
    rounds: Annotated[int, typer.Option(help="rounds, each with every server", min=1)] = 3,
    keys: Annotated[int, typer.Option(help="distinct keys, all written before", min=1)] = 10_000,
    only: Annotated[str, typer.Option(help=f"some of {','.join(CONTENDERS)}")] = ",".join(CONTENDERS),
    folder: Annotated[Path, typer.Option(help="where the data goes: a real disk")] = Path("/var/tmp"),
    output: Annotated[str, typer.Option("-o", "--output", help="table or json")] = "table",
) -> None:
    """Prints medians with minimum and maximum, the ratios, and which aims are met."""
    chosen = _chosen(only.split(","))
    if output not in ("table", "json"):
        raise typer.BadParameter(f"{output!r} is no output: give table or json", param_hint="-o")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    # A stop from outside ends the servers as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # What keeps its data in a temporary folder of its own (PostgreSQL) shall keep it on the same disk.
    tempfile.tempdir = str(folder)
    measured: dict[str, list[Figures]] = {name: [] for name in chosen}
    flushes: list[float] = []
    try:
        for number in range(1, rounds + 1):
            flushes.append(_flush_rate(folder, min(seconds, 2)))
            for name, contender in chosen.items():
                with step(f"round {number} of {rounds}: {name}"):
                    measured[name].append(_measure(contender, seconds, keys))
                note(measured[name][-1].line())
    except (LoadError, StartError) as error:
        sys.exit(f"nothing is reported, as a server failed: {error}")
    if output == "json":
        print(json.dumps(report.as_json(measured, flushes), indent=2))
    else:
        report.show(measured, flushes)


def _chosen(names: list[str]) -> dict[str, Contender]:
    unknown = [name for name in names if name not in CONTENDERS]
    if unknown:
        raise typer.BadParameter(f"no such server: {', '.join(unknown)}; there are {', '.join(CONTENDERS)}")
    return {name: CONTENDERS[name] for name in names}


def _measure(contender: Contender, seconds: float, keys: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="dumbkv-bench-") as folder, contender(Path(folder)) as running:
        at_rest = running.memory()
        _check(running)
        fill(running.port, running.put, keys)
        writes = run(running.port, running.put, seconds, keys)
        reads = run(running.port, running.get, seconds, keys)
        return Figures(writes, reads, at_rest / 1024, running.memory() / 1024)


def _check(running: Running) -> None:
    """LoadError unless a value that was put is got."""
    running.put.send(running.port, 0)
    answer = running.get.send(running.port, 0).text
    if running.expected not in answer:
        raise LoadError(f"a get does not return what was put: {answer[:200]}")


def _flush_rate(folder: Path, seconds: float) -> float:
    """How often a second a few kilobytes that are appended to a file can be flushed to the disk."""
    with core(SERVER_CORE), tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        count, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            file.write(bytes(FLUSHED_BYTES))
            os.fdatasync(file.fileno())
            count += 1
        return count / seconds


if __name__ == "__main__":
    typer.run(main)
