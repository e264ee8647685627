"""The power is cut at every I/O of the real store: what it acknowledged is there when it starts again.

SQLite's I/O is recorded while clients write, and the files that a power cut could leave (tests/support/
power_cut.py has the model) are opened by the store as at any start. That the same eyes see losses where there
are some is shown with SQLite's defaults and with the usual synchronous=NORMAL.
"""

import asyncio
import hashlib
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dumbkv_server.metrics import Metrics
from dumbkv_server.store import (
    Address,
    Delete,
    KeyOperation,
    Put,
    Row,
    StoreStartError,
    StoreUnavailableError,
    sqlite,
)
from tests.support.power_cut import Disk, Files
from tests.support.recording_vfs import Event, Recorder, recording

pytestmark = pytest.mark.slow

CLIENTS, KEYS, ROUNDS = 4, 3, 50
# The log is folded into the file many times, instead of once in a thousand pages.
CHECKPOINT_PAGES = 24
NAME = "dumbkv.db"
METRICS = Metrics()
Contents = dict[int, bytes | None]


@dataclass
class Client:
    """What one client's keys hold after each of its writes, and how far it got."""

    number: int
    states: list[Contents] = field(default_factory=lambda: [dict.fromkeys(range(KEYS))])
    begun: int = 0
    acknowledged: int = 0


@dataclass(frozen=True)
class Began:
    client: int


@dataclass(frozen=True)
class Acknowledged:
    client: int
    revision: int


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory: what a sync means is the recorder's business here, not this machine's disk's."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="dumbkv-", dir=memory if memory.is_dir() else None))
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["local", "network"])
def profile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the store opens its file: as on a disk of this machine, or as on a network file system."""
    name = str(request.param)
    monkeypatch.setattr(sqlite, "is_local", lambda _: name == "local")
    return name


def address(client: int, key: int) -> Address:
    return Address(0, (hashlib.sha256(f"{client}/{key}".encode()).digest(),), "")


def new_store(path: Path) -> sqlite.SQLiteStore:
    return sqlite.SQLiteStore(str(path), METRICS, fingerprints={0: b"print"}, max_waiting_writes=256)


async def write(
    store: sqlite.SQLiteStore, recorder: Recorder, client: Client, choice: random.Random, rounds: int
) -> None:
    """Put, delete and replace several keys at once, one write after the other."""
    for _ in range(rounds):
        keys = choice.sample(range(KEYS), choice.choice((1, 1, 1, 2, KEYS)))
        state = dict(client.states[-1])
        operations: list[KeyOperation] = []
        for key in keys:
            place = address(client.number, key)
            size = choice.choice((10, 300, 3_000, 9_000))
            value = None if choice.random() < 0.2 else f"{len(client.states)}/".encode().ljust(size, b"v")
            state[key] = value
            operations.append(Delete(place) if value is None else Put(place, value))
        client.states.append(state)
        recorder.events.append(Began(client.number))
        results = await store.transact(operations, answer_bytes=0)
        revision = max((each for each in results if type(each) is int), default=0)
        recorder.events.append(Acknowledged(client.number, revision))


async def record(folder: Path, pragmas: tuple[str, ...], seed: int) -> tuple[Recorder, list[Client]]:
    """Clients write side by side; then the store is closed, opened again, and they go on."""
    clients = [Client(number) for number in range(CLIENTS)]
    choices = [random.Random(f"{seed}/{client.number}") for client in clients]
    with recording(folder) as recorder:
        for _ in range(2):
            store = new_store(folder / NAME)
            await store.open()
            for pragma in (f"wal_autocheckpoint = {CHECKPOINT_PAGES}", *pragmas):
                store._connection.execute(f"PRAGMA {pragma}").fetchall()
            # Other files are right where the journal is another.
            assert store._ownership is not None
            store._ownership.watch()
            writers = [
                write(store, recorder, client, choice, ROUNDS // 2)
                for client, choice in zip(clients, choices, strict=True)
            ]
            await asyncio.gather(*writers)
            await store.close()
    return recorder, clients


async def verdict(path: Path, clients: list[Client], revision: int) -> str:
    """Start the store on these files: "kept", "lost" or "unreadable"."""
    store = new_store(path)
    try:
        await store.open()
        if store._connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            return "unreadable"
        for client in clients:
            found = [await store.get(address(client.number, key)) for key in range(KEYS)]
            content = {key: row.blob if isinstance(row, Row) else None for key, row in enumerate(found)}
            # What is under way may be there or not, but whole; what was acknowledged must be there.
            if content not in client.states[client.acknowledged : client.begun + 1]:
                return "lost"
        # The store takes writes again, and reuses no revision.
        return "kept" if await store.put(Put(address(CLIENTS, 0), b"new")) > revision else "lost"
    except (StoreStartError, StoreUnavailableError):
        return "unreadable"
    finally:
        if hasattr(store, "_connection"):
            await store.close()


def lay_out(files: Files, folder: Path) -> Path:
    """The files in a folder that has no others: where the database is."""
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / NAME


async def cut_everywhere(
    recorder: Recorder, clients: list[Client], folder: Path, seed: int, subsets: int
) -> Counter[str]:
    """How many different cuts end how. Two are one where files and acknowledgements are the same."""
    disk, choice = Disk(), random.Random(seed)
    verdicts: Counter[str] = Counter()
    seen: set[bytes] = set()
    revision = 0
    for event in recorder.events:
        match event:
            case Began(number):
                clients[number].begun += 1
                continue
            case Acknowledged(number, given):
                clients[number].acknowledged += 1
                revision = max(revision, given)
            case _:
                assert isinstance(event, Event)
                disk.tell(event)
        for files in disk.cuts(choice, subsets):
            state = hashlib.sha256(repr([client.acknowledged for client in clients]).encode())
            for name, content in sorted(files.items()):
                state.update(f"{name} {len(content)} ".encode() + content)
            if state.digest() not in seen:
                seen.add(state.digest())
                verdicts[await verdict(lay_out(files, folder), clients, revision)] += 1
    return verdicts


async def record_and_cut(
    folder: Path, pragmas: tuple[str, ...] = (), *, seed: int, subsets: int
) -> Counter[str]:
    recorded, cut = folder / "recorded", folder / "cut"
    recorded.mkdir()
    cut.mkdir()
    recorder, clients = await record(recorded, pragmas, seed)
    verdicts = await cut_everywhere(recorder, clients, cut, seed, subsets)
    print(f"{len(recorder.events)} events, cut states: {dict(verdicts)}")
    return verdicts


@pytest.mark.parametrize("seed", range(2))
async def test_a_power_cut_at_any_io_loses_nothing(folder: Path, profile: str, seed: int) -> None:
    verdicts = await record_and_cut(folder, seed=seed, subsets=4)
    assert verdicts["kept"] >= 5_000
    assert set(verdicts) == {"kept"}


@pytest.mark.parametrize(
    "pragmas", [("synchronous = NORMAL",), ("journal_mode = DELETE", "locking_mode = NORMAL")], ids=" ".join
)
@pytest.mark.parametrize("profile", ["network"], indirect=True)
async def test_the_same_cuts_show_what_weaker_settings_lose(
    folder: Path, profile: str, pragmas: tuple[str, ...]
) -> None:
    """A log that is not synced with each commit; SQLite's default, whose removed journal may come back.

    On the profile with one connection: a second one would not let the journal be changed.
    """
    verdicts = await record_and_cut(folder, pragmas, seed=0, subsets=1)
    assert verdicts["lost"] > 0
