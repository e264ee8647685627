"""Whether memory stays flat under load: puts, gets and deletes of random keys at a steady rate, for an hour.

The server runs as its image starts it. Its memory is looked at sixty times; what the first sixth of the time
adds is warming up, caches among it, and what comes after it is growth.
"""

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import httpx
import typer

from devcluster.console import note, step

from .contenders import Running, StartError, dumbkv_sqlite
from .load import KEY_DIGITS, KEY_PREFIX

LOOKS = 60
VALUE_BYTES = (10, 100, 1_000, 10_000)


def main(
    minutes: Annotated[float, typer.Option(help="how long", min=0.1)] = 60,
    rate: Annotated[int, typer.Option(help="requests a second", min=1)] = 500,
    keys: Annotated[int, typer.Option(help="distinct keys", min=1)] = 20_000,
    folder: Annotated[Path, typer.Option(help="where the data goes: a real disk")] = Path("/var/tmp"),
) -> None:
    """Prints the memory sixty times, and its growth after the first sixth of the time."""
    with tempfile.TemporaryDirectory(prefix="dumbkv-soak-", dir=folder) as name:
        try:
            with (
                dumbkv_sqlite(Path(name)) as running,
                step(f"{rate} requests a second for {minutes:g} minutes"),
            ):
                looks = _load(running, minutes * 60, rate, keys)
        except (StartError, httpx.HTTPError) as error:
            sys.exit(f"nothing is reported, as the server failed: {error}")
    warm = looks[len(looks) // 6 :]
    figures = {"at rest": looks[0], "when warm": warm[0], "at most": max(warm), "last": warm[-1]}
    print("memory, MiB: " + ", ".join(f"{value:.1f} {name}" for name, value in figures.items()))
    print(f"growth after the first sixth: {warm[-1] - warm[0]:+.1f} MiB in {minutes * 5 / 6:.0f} minutes")


def _load(running: Running, seconds: float, rate: int, keys: int) -> list[float]:
    """The memory in MiB, before the load and sixty times while it lasts."""
    choice = random.Random(1)
    looks = [running.memory() / 1024]
    began = time.monotonic()
    url, headers = f"http://127.0.0.1:{running.port}", dict(running.put.headers)
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        sent = 0
        while (elapsed := time.monotonic() - began) < seconds:
            if sent > elapsed * rate:
                time.sleep(0.01)
                continue
            _one(client, choice, keys)
            sent += 1
            if elapsed >= len(looks) * seconds / LOOKS:
                looks.append(running.memory() / 1024)
                note(f"{elapsed / 60:.0f} min, {sent:,} requests, {looks[-1]:.1f} MiB")
    return [*looks, running.memory() / 1024]


def _one(client: httpx.Client, choice: random.Random, keys: int) -> None:
    body: dict[str, object] = {"key": f"{KEY_PREFIX}{choice.randrange(keys):0{KEY_DIGITS}}"}
    method = choice.choice(("PUT", "POST", "POST", "DELETE"))
    if method == "PUT":
        body |= {"value": "v" * choice.choice(VALUE_BYTES), "ttl": choice.choice((30, 3600))}
    answer = client.request(method, "/kv", json=body)
    if answer.status_code != 404:
        answer.raise_for_status()


if __name__ == "__main__":
    typer.run(main)
