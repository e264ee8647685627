"""What was measured, as a table for people and as JSON for programs; a missed aim is shown as one."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from .load import Measured

Rounds = Mapping[str, Sequence["Figures"]]


@dataclass(frozen=True)
class Figures:
    """One round of one server; memory in MiB, at rest before the first request and after the load."""

    writes: Measured
    reads: Measured
    memory_at_rest: float
    memory_after: float

    def line(self) -> str:
        """The round in a line."""
        return f"{self.writes.rate:,.0f} writes/s, {self.reads.rate:,.0f} reads/s"


@dataclass(frozen=True)
class Aim:
    """A figure of DumbKV that is compared with an aim: at least, or, of a latency, less than it."""

    name: str
    values: Sequence[float]
    aim: float | None = None
    at_most: bool = False

    def verdict(self) -> str:
        """Whether the median meets the aim; empty where there is none."""
        if self.aim is None:
            return ""
        median = statistics.median(self.values)
        met = median < self.aim if self.at_most else median >= self.aim
        return f"{'<' if self.at_most else '>='} {self.aim:g}: {'met' if met else 'MISSED'}"


def aims(measured: Rounds) -> list[Aim]:
    """DumbKV on SQLite against the aims and its peers: what can be said of the servers that were measured."""
    own = measured.get("dumbkv")
    if not own:
        return []
    found = [
        Aim("writes/s", [each.writes.rate for each in own], 15_000),
        Aim("p99 of writes, ms", [each.writes.p99 for each in own], 5, at_most=True),
        Aim("p99 of reads, ms", [each.reads.p99 for each in own], 5, at_most=True),
        Aim("memory at rest, MiB", [each.memory_at_rest for each in own], 60, at_most=True),
    ]
    of_writes = {"etcd": 2.0, "redis": 0.5, "plain": None, "raw": None}
    of_reads = {"etcd": 2.0, "redis": None, "plain": None, "raw": None}
    for kind, wanted in (("writes", of_writes), ("reads", of_reads)):
        for peer, aim in wanted.items():
            if peer in measured:
                ratios = [
                    getattr(mine, kind).rate / getattr(other, kind).rate
                    for mine, other in zip(own, measured[peer], strict=True)
                ]
                found.append(Aim(f"{kind}, times those of {peer}", ratios, aim))
    return found


def show(measured: Rounds, flushes: Sequence[float]) -> None:
    """Print both tables."""
    # A file or a pipe has no width of its own, and a figure that is cut off is none.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    table = Table(
        title=f"median (min to max) of {len(flushes)} rounds; latency in ms; memory at rest and after load"
    )
    for heading in ("server", "writes/s", "p50", "p99", "reads/s", "p50", "p99", "MiB", "after"):
        table.add_column(heading, justify="left" if heading == "server" else "right", no_wrap=True)
    for name, rounds in measured.items():
        cells: list[str] = []
        for kind in ("writes", "reads"):
            results: list[Measured] = [getattr(each, kind) for each in rounds]
            cells += [_spread([each.rate for each in results], ",.0f")]
            cells += [f"{statistics.median([each.p50 for each in results]):.2f}"]
            cells += [f"{statistics.median([each.p99 for each in results]):.2f}"]
        cells += [f"{statistics.median([each.memory_at_rest for each in rounds]):.0f}"]
        cells += [f"{statistics.median([each.memory_after for each in rounds]):.0f}"]
        table.add_row(name, *cells)
    console.print(table)
    console.print(f"flushes to the disk: {_spread(flushes, ',.0f')} a second", highlight=False)
    if found := aims(measured):
        verdicts = Table("DumbKV on SQLite", "median (min to max)", "aim", title="against the aims")
        for each in found:
            verdicts.add_row(each.name, _spread(each.values, ",.2f"), each.verdict())
        console.print(verdicts)


def as_json(measured: Rounds, flushes: Sequence[float]) -> dict[str, Any]:
    """All rounds, and the aims with whether they are met."""
    return {
        "flushes_per_second": list(flushes),
        "rounds": {name: [asdict(each) for each in rounds] for name, rounds in measured.items()},
        "aims": [asdict(each) | {"verdict": each.verdict()} for each in aims(measured)],
    }


def _spread(values: Sequence[float], form: str) -> str:
    median, lowest, highest = statistics.median(values), min(values), max(values)
    return f"{median:{form}} ({lowest:{form}} to {highest:{form}})"
