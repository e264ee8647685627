"""Operations pass side by side; a change passes alone."""

import asyncio

import pytest

from dumbkv_server.passage import Passage


async def test_a_change_waits_for_those_inside_and_those_that_come_wait_for_it() -> None:
    passage, events, leave = Passage(), [], asyncio.Event()

    async def operation(name: str, until: asyncio.Event | None = None) -> None:
        if passage.closed:
            await passage.opened()
        with passage:
            events.append(f"{name} in")
            if until is not None:
                await until.wait()
            events.append(f"{name} out")

    async def change() -> None:
        async with passage.alone():
            events.append("change begins")
            await asyncio.sleep(0)
            events.append("change ends")

    async with asyncio.TaskGroup() as group:
        group.create_task(operation("first", leave))
        group.create_task(operation("second"))
        await asyncio.sleep(0)
        group.create_task(change())
        await asyncio.sleep(0)
        group.create_task(operation("late"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert events == ["first in", "second in", "second out"]
        leave.set()
    assert events[3:] == ["first out", "change begins", "change ends", "late in", "late out"]


async def test_a_change_or_an_operation_that_fails_leaves_the_way_open() -> None:
    passage = Passage()
    with pytest.raises(ValueError, match="change"):
        async with passage.alone():
            raise ValueError("change")
    with pytest.raises(ValueError, match="operation"), passage:
        raise ValueError("operation")
    async with asyncio.timeout(60), passage.alone():
        pass
    async with asyncio.timeout(60):
        await passage.opened()
    assert not passage.closed
