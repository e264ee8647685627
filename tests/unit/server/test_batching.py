"""Group commit: what is told of what waits."""

import asyncio
from collections.abc import Sequence

from dumbkv_server.store.batching import Batcher


async def test_the_length_of_the_queue_is_told_while_a_batch_is_handled() -> None:
    go = asyncio.Event()

    async def handle(batch: Sequence[int]) -> Sequence[int]:
        await go.wait()
        return batch

    batcher: Batcher[int, int] = Batcher(handle)
    first = batcher.submit(1)
    await asyncio.sleep(0)
    waiting = [batcher.submit(number) for number in (2, 3, 4)]
    assert batcher.waiting() == 3
    go.set()
    assert await asyncio.gather(first, *waiting) == [1, 2, 3, 4]
    await batcher.close()
    assert batcher.waiting() == 0
