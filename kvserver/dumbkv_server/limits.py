"""What requests may cost: sizes of body, key and value, and the room that all bodies share."""

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


class BusyError(Exception):
    """As many requests are in work as may be, or their bodies take all the room there is."""


class ClientGoneError(Exception):
    """The client closed its connection; nobody waits for an answer."""


@dataclass(slots=True)
class Limits:
    """Limits of one request, and of the bodies of all that are in work: sizes in bytes."""

    key_bytes: int
    value_bytes: int
    batch_bytes: int
    bytes_in_work: int
    _taken: int = 0

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
        """A request's body of at most `maximum` bytes, which the caller releases when it is answered.

        It is refused as soon as its length is known to be too much: from its header, or while it arrives; so
        is one for which there is no room beside all others (BusyError).
        """
        if content_length is not None and (not content_length.isdigit() or int(content_length) > maximum):
            raise TooLargeError("body", maximum)
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                part = message.get("body", b"")
                size += len(part)
                self._taken += len(part)
                if size > maximum:
                    raise TooLargeError("body", maximum)
                if self._taken > self.bytes_in_work:
                    raise BusyError
                parts.append(part)
                if not message.get("more_body", False):
                    return part if len(parts) == 1 else b"".join(parts)
        except BaseException:
            self._taken -= size
            raise

    def release(self, body: bytes) -> None:
        """Make room for others: this body's request is answered."""
        self._taken -= len(body)


def _check(code: str, text: str, limit: int) -> None:
    # A character is one to four bytes, so most texts need no encoding to be judged.
    if len(text) > limit or (len(text) * 4 > limit and len(text.encode()) > limit):
        raise TooLargeError(code, limit)
