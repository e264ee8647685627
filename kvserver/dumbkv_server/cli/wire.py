"""One kept connection that sends one request after the other, with as little of its own as can be.

A load that is measured must not be the client's own: a general client takes longer for a request than the
server does.
"""

import asyncio
import ssl
from urllib.parse import urlsplit

import httptools

from .api import CONNECT_SECONDS, CommandError

READ_BYTES = 64 * 1024
# A server that answers with more than this is none of ours.
MAX_ANSWER_BYTES = 16 * 1024 * 1024


class WireError(Exception):
    """The connection could not be made, or broke. The message is a word or two for a table."""


class Connection:
    """A connection to the server at `url`. Made with the first request, and anew after an error."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CommandError(f"{url} is no URL: begin it with http:// or https://")
        self._host = parts.hostname
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = port or (443 if self._tls else 80)
        self._path = parts.path.rstrip("/")
        self._timeout = timeout
        self._headers = f"Host: {parts.netloc.rpartition('@')[2]}\r\nContent-Type: application/json\r\n"
        if token:
            self._headers += f"Authorization: Bearer {token}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; WireError where there is none."""
        head = f"{method} {self._path}{path} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n"
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await self._connected()
                writer.write(head.encode("latin-1") + body)
                answer = await _answer(reader)
        except TimeoutError:
            self.close()
            raise WireError("timeout") from None
        except (OSError, EOFError, httptools.HttpParserError):
            self.close()
            raise WireError("connection lost") from None
        if not answer.keep:
            self.close()
        return answer.status, b"".join(answer.parts)

    def close(self) -> None:
        """Close the connection; the next request makes another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        return self._streams


class _Answer:
    """What the parser tells of one answer."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.parts: list[bytes] = []
        self.size = 0
        self.status = 0
        self.keep = False
        self.complete = False

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)
        self.size += len(body)

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_message_complete(self) -> None:
        self.keep = self.parser.should_keep_alive()
        self.complete = True


async def _answer(reader: asyncio.StreamReader) -> _Answer:
    answer = _Answer()
    while not answer.complete:
        data = await reader.read(READ_BYTES)
        if not data or answer.size > MAX_ANSWER_BYTES:
            raise EOFError
        answer.parser.feed_data(data)
    return answer
