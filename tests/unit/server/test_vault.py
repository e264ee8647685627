"""Peppers change between operations, never under one: on the real SQLite store."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dumbkv_server.crypto import Keyring, Pepper
from dumbkv_server.metrics import Metrics
from dumbkv_server.store import StoreStartError
from dumbkv_server.store.sqlite import SQLiteStore
from dumbkv_server.vault import Read, Vault, Write

ONE, TWO = Pepper(1, b"1" * 32), Pepper(2, b"2" * 32)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    fingerprints = Keyring((ONE,)).fingerprints()
    made = SQLiteStore(
        str(tmp_path / "dumbkv.db"), Metrics(), fingerprints=fingerprints, max_waiting_writes=256
    )
    await made.open()
    yield made
    await made.close()


async def test_a_read_that_waits_is_answered_before_its_row_can_move(store: SQLiteStore) -> None:
    """It looks for the row where the former peppers have it: afterwards it would find nothing."""
    vault = Vault(Keyring((ONE,)), store)
    await vault.put(Write(0, "k", "old"))
    # The thread that reads is busy.
    release = threading.Event()
    store._read_thread.submit(release.wait)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        reading = group.create_task(vault.get(Read(0, "k")))
        await asyncio.sleep(0)

        async def change_and_write() -> int:
            await vault.use((TWO, ONE))
            return await vault.put(Write(0, "k", "new"))

        writing = group.create_task(change_and_write())
        # Time enough for a change that does not wait for the read, as it must.
        await asyncio.wait([writing], timeout=0.5)
        release.set()
    entry = reading.result()
    assert entry is not None
    assert entry.value == "old"
    assert writing.result() > entry.revision
    found = await vault.get(Read(0, "k"))
    assert found is not None
    assert found.value == "new"
    assert (await vault.counts()).peppers == {1: 0, 2: 1}


async def test_peppers_that_are_refused_change_nothing(store: SQLiteStore) -> None:
    vault = Vault(Keyring((ONE,)), store)
    await vault.put(Write(0, "k", "v"))
    for peppers in ((TWO,), (Pepper(1, b"3" * 32),), (TWO, Pepper(1, b"3" * 32))):
        with pytest.raises(StoreStartError, match="pepper 1"):
            await vault.use(peppers)
    revision = await vault.put(Write(0, "k", "w"))
    entry = await vault.get(Read(0, "k"))
    assert entry is not None
    assert (entry.value, entry.revision) == ("w", revision)
    # Nothing of what was refused is recorded either.
    assert (await vault.counts()).peppers == {1: 1}


async def test_a_pepper_is_recorded_before_the_first_row_under_it(store: SQLiteStore) -> None:
    """Recorded means committed: another connection sees it."""
    vault = Vault(Keyring((ONE,)), store)
    await vault.use((TWO, ONE))
    names = [name for (name,) in store._reader.execute("SELECT name FROM dumbkv_meta")]
    assert "pepper/2" in names
    assert store._reader.execute("SELECT count(*) FROM dumbkv_rows").fetchone() == (0,)
