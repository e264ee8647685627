"""What one request may cost: the size of its body, its key and its value, and the time its body takes."""

import asyncio
from dataclasses import dataclass

from starlette.types import Receive

# One byte of UTF-8 is at most six bytes of JSON (\u001f), and the rest of the body is small.
JSON_EXPANSION = 6
ENVELOPE_BYTES = 1024


class TooLargeError(Exception):
    """Something exceeds its limit, in bytes. `code` says what: body, key or value."""

    def __init__(self, code: str, limit: int) -> None:
        super().__init__(f"the {code} is larger than {limit} bytes")
        self.code = code
        self.limit = limit


class BodyTimeoutError(Exception):
    """The body did not arrive in time."""


class ClientGoneError(Exception):
    """The client closed its connection; nobody waits for an answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one request: sizes in bytes, times in seconds."""

    key_bytes: int
    value_bytes: int
    batch_bytes: int
    body_seconds: float

    @property
    def body_bytes(self) -> int:
        """The longest body that can hold a key and a value within their limits, however it is escaped."""
        return JSON_EXPANSION * (self.key_bytes + self.value_bytes) + ENVELOPE_BYTES

    def check_key(self, key: str) -> None:
        """TooLargeError where a key is too long as UTF-8."""
        _check("key", key, self.key_bytes)

    def check_value(self, value: str) -> None:
        """TooLargeError where a value is too long as UTF-8."""
        _check("value", value, self.value_bytes)

    async def read_body(self, receive: Receive, content_length: bytes | None, maximum: int) -> bytes:
        """A request's body of at most `maximum` bytes.

        It is refused as soon as its length is known to be too much: from its header, or while it arrives.
        """
        if content_length is not None and (not content_length.isdigit() or int(content_length) > maximum):
            raise TooLargeError("body", maximum)
        try:
            async with asyncio.timeout(self.body_seconds):
                return await _collect(receive, maximum)
        except TimeoutError:
            raise BodyTimeoutError from None


def _check(code: str, text: str, limit: int) -> None:
    # A character is one to four bytes, so most texts need no encoding to be judged.
    if len(text) > limit or (len(text) * 4 > limit and len(text.encode()) > limit):
        raise TooLargeError(code, limit)


async def _collect(receive: Receive, maximum: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        size += len(part)
        if size > maximum:
            raise TooLargeError("body", maximum)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
