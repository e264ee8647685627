"""The limits are exact, and a body is refused before it is kept."""

import pytest
from starlette.types import Message

from dumbkv_server.limits import Body, BusyError, ClientGoneError, Limits, TooLargeError

LIMITS = Limits(key_bytes=4, value_bytes=8, batch_bytes=100, bytes_in_work=1000)


class Channel:
    """An ASGI receive channel that counts what was taken from it."""

    def __init__(self, *parts: bytes, disconnect: bool = False) -> None:
        self.messages: list[Message] = [
            {"type": "http.request", "body": part, "more_body": number < len(parts) or disconnect}
            for number, part in enumerate(parts, 1)
        ]
        if disconnect:
            self.messages.append({"type": "http.disconnect"})
        self.taken = 0

    async def receive(self) -> Message:
        self.taken += 1
        return self.messages[self.taken - 1]


async def read(limits: Limits, channel: Channel, announced: bytes | None, maximum: int) -> Body:
    """Read a whole body; one that is refused gives its room back, as its caller does."""
    body = limits.body(announced, maximum)
    try:
        await body.read(channel.receive)
    except Exception:
        body.release()
        raise
    return body


@pytest.mark.parametrize("text", ["", "abcd", "éé", "\U0001f511", "abé"])
def test_a_key_within_its_bytes_passes(text: str) -> None:
    LIMITS.check_key(text)


@pytest.mark.parametrize("text", ["abcde", "ééé", "\U0001f511a", "abcé"])
def test_a_key_over_its_bytes_is_refused(text: str) -> None:
    with pytest.raises(TooLargeError, match="key is larger than 4 bytes"):
        LIMITS.check_key(text)


def test_a_value_has_a_limit_of_its_own() -> None:
    LIMITS.check_value("12345678")
    with pytest.raises(TooLargeError, match="value"):
        LIMITS.check_value("123456789")


async def test_a_body_in_parts_is_joined() -> None:
    body = await read(LIMITS, Channel(b"a", b"", b"bc"), None, 3)
    assert body.whole() == b"abc"
    body.release()
    assert LIMITS.taken == 0


@pytest.mark.parametrize("length", [b"11", b"-1", b"x", b"1e3", b""])
async def test_a_body_that_announces_too_much_is_not_read(length: bytes) -> None:
    channel = Channel(b"a")
    with pytest.raises(TooLargeError):
        await read(LIMITS, channel, length, 10)
    assert channel.taken == 0


async def test_a_body_is_refused_with_the_first_part_that_is_too_much() -> None:
    channel = Channel(*[b"1234"] * 100)
    with pytest.raises(TooLargeError):
        await read(LIMITS, channel, None, 10)
    assert channel.taken == 3


async def test_a_client_that_leaves_is_not_answered() -> None:
    with pytest.raises(ClientGoneError):
        await read(LIMITS, Channel(b"a", disconnect=True), None, 10)


async def test_all_bodies_share_room_that_each_gives_back_however_it_ends() -> None:
    limits = Limits(4, 8, 100, bytes_in_work=10)
    first = await read(limits, Channel(b"123", b"456"), None, 10)
    channel = Channel(*[b"12"] * 100)
    with pytest.raises(BusyError):
        await read(limits, channel, None, 10)
    assert channel.taken == 3
    with pytest.raises(ClientGoneError):
        await read(limits, Channel(b"1234", disconnect=True), None, 10)
    with pytest.raises(TooLargeError):
        await read(limits, Channel(b"1234"), None, 3)
    second = await read(limits, Channel(b"1234"), None, 10)
    first.release()
    second.release()
    (await read(limits, Channel(b"1234567890"), None, 10)).release()
    (await read(limits, Channel(b"1234567890"), None, 10)).release()


def test_the_largest_body_holds_the_largest_key_and_value_however_escaped() -> None:
    key, value = "\\u001f" * 4, "\\u001f" * 8
    body = f'{{"database":2147483647,"key":"{key}","value":"{value}"}}'
    assert len(body) <= LIMITS.body_bytes
