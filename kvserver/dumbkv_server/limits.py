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
    taken: int = 0
    """Bytes of the bodies that are kept now."""

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

    def body(self, announced: bytes | None, maximum: int) -> "Body":
        """Room for a body of at most `maximum` bytes; TooLargeError where its header announces more."""
        if announced is not None and (not announced.isdigit() or int(announced) > maximum):
            raise TooLargeError("body", maximum)
        return Body(self, maximum)


class Body:
    """One request's body while it arrives and until it is answered, when the caller releases it."""

    __slots__ = ("_limits", "_maximum", "_parts", "_size")

    def __init__(self, limits: Limits, maximum: int) -> None:
        self._limits = limits
        self._maximum = maximum
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        """Keep a part; TooLargeError as soon as it is too much, BusyError without room beside all others."""
        size = self._size + len(part)
        if size > self._maximum:
            raise TooLargeError("body", self._maximum)
        taken = self._limits.taken + len(part)
        if taken > self._limits.bytes_in_work:
            raise BusyError
        self._limits.taken = taken
        self._size = size
        self._parts.append(part)

    async def read(self, receive: Receive) -> None:
        """Add all that an ASGI request has; ClientGoneError where the client leaves before its end."""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            self.add(message.get("body", b""))
            more = message.get("more_body", False)

    def whole(self) -> bytes:
        """What has arrived."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def release(self) -> None:
        """Make room for others."""
        self._limits.taken -= self._size
        self._size = 0


def _check(code: str, text: str, limit: int) -> None:
    # A character is one to four bytes, so most texts need no encoding to be judged.
    if len(text) > limit or (len(text) * 4 > limit and len(text.encode()) > limit):
        raise TooLargeError(code, limit)
