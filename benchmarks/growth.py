"""The same figures as data grows: writes and reads of random keys in stores of ever more keys.

Each store is new, filled through `POST /kv/batch`, and then measured as in throughput.py.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from devcluster.console import note, step

from .contenders import Running, StartError, dumbkv_sqlite
from .load import KEY_DIGITS, KEY_PREFIX, VALUE, LoadError, run
from .report import Figures

KEYS_A_BATCH = 1000
SIZES = "1000,1000000,10000000"


def main(
    sizes: Annotated[str, typer.Option(help="keys of each store, ascending")] = SIZES,
    seconds: Annotated[float, typer.Option(help="seconds of each measurement", min=1)] = 5,
    folder: Annotated[Path, typer.Option(help="where the data goes: a real disk")] = Path("/var/tmp"),
) -> None:
    """Prints a line for each size, with its ratio to the smallest."""
    table = Table(title="DumbKV on SQLite, 32 connections, 100-byte values, random keys; latency in ms")
    headings = (
        "keys",
        "writes/s",
        "p99",
        "of the first",
        "reads/s",
        "p99",
        "of the first",
        "file, MiB",
        "MiB",
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    first: Figures | None = None
    for keys in [int(size) for size in sizes.split(",")]:
        try:
            figures, file_mebibytes = _measure(keys, seconds, folder)
        except (LoadError, StartError, httpx.HTTPError) as error:
            sys.exit(f"nothing is reported, as the server failed: {error}")
        note(figures.line())
        first = first or figures
        table.add_row(
            f"{keys:,}", *_cells(figures, first), f"{file_mebibytes:,.0f}", f"{figures.memory_after:.0f}"
        )
    (Console() if sys.stdout.isatty() else Console(width=120)).print(table)


def _cells(figures: Figures, first: Figures) -> list[str]:
    cells: list[str] = []
    for own, its in ((figures.writes, first.writes), (figures.reads, first.reads)):
        cells += [f"{own.rate:,.0f}", f"{own.p99:.2f}", f"{own.rate / its.rate:.2f}"]
    return cells


def _measure(keys: int, seconds: float, parent: Path) -> tuple[Figures, float]:
    with tempfile.TemporaryDirectory(prefix="dumbkv-bench-", dir=parent) as name:
        folder = Path(name)
        with dumbkv_sqlite(folder) as running:
            at_rest = running.memory()
            with step(f"write {keys:,} keys") as tell:
                _fill(running, keys, tell)
            with step(f"measure with {keys:,} keys"):
                writes = run(running.port, running.put, seconds, keys)
                reads = run(running.port, running.get, seconds, keys)
            figures = Figures(writes, reads, at_rest / 1024, running.memory() / 1024)
            return figures, (folder / "dumbkv.db").stat().st_size / 2**20


def _fill(running: Running, keys: int, tell: Callable[[str], None]) -> None:
    began = time.monotonic()
    url = f"http://127.0.0.1:{running.port}"
    with httpx.Client(base_url=url, headers=dict(running.put.headers), timeout=60) as client:
        for start in range(0, keys, KEYS_A_BATCH):
            operations = [
                {"op": "put", "key": f"{KEY_PREFIX}{number:0{KEY_DIGITS}}", "value": VALUE}
                for number in range(start, min(keys, start + KEYS_A_BATCH))
            ]
            client.post("/kv/batch", json={"operations": operations}).raise_for_status()
            tell(f"{start:,} in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    typer.run(main)
