"""One client's connection: how long it may keep the server waiting, and which goes when there are too many.

uvicorn speaks HTTP; this bounds what it leaves open: the time that a header and a body may take to arrive,
that a new connection may say nothing and that an answer may wait to be taken, the size of a header, and the
number of connections.
Give it to uvicorn as `--http dumbkv_server.api.connection:Connection`.
"""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from .problems import CLOSE, MEDIA_TYPE, RETRY, ProblemError
from .responses import WHOLE_ANSWER

# What may come of a header after its first packet, in bytes.
MAX_HEADER_BYTES: Final = 64 * 1024
STATE: Final = "connections"

MALFORMED = ProblemError(400, "malformed-request", "This is not a request of HTTP/1.1.", CLOSE)
SLOW_HEADER = ProblemError(408, "header-timeout", "The header did not arrive in time.", CLOSE)
SLOW_BODY = ProblemError(408, "body-timeout", "The body did not arrive in time; send it again.", CLOSE)
TOO_LONG = ProblemError(
    431,
    "header-too-large",
    f"The header may have {MAX_HEADER_BYTES} bytes; keys and values go in the body.",
    CLOSE,
)
FULL = ProblemError(
    503, "too-many-connections", "Every connection is in use; try again later.", {**RETRY, **CLOSE}
)


@dataclass(slots=True)
class Connections:
    """All connections of a process, and their limits: times in seconds."""

    maximum: int
    header_seconds: float
    body_seconds: float
    answer_seconds: float
    waiting: dict["Connection", None] = field(default_factory=dict)
    """Those that wait for their client, for its next request or the rest of one; the longest first."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits. The lifespan's state holds the `Connections` under the name STATE."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.ws_protocol_class = None
        self._all: Connections = app_state[STATE]
        self._reading_header = False
        self._header_bytes = 0
        self._expecting_body = False
        self._arrival_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new client; where there are too many, the one that kept us waiting longest goes."""
        super().connection_made(transport)
        if len(self.connections) > self._all.maximum:
            longest = next(iter(self._all.waiting), None)
            if longest is None:
                self._refuse(FULL)
                return
            longest.leave()
        self._all.waiting[self] = None
        # uvicorn itself counts idle time only from the first answer on.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def leave(self) -> None:
        """Close the connection to make room for another."""
        del self._all.waiting[self]
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all about the client."""
        super().connection_lost(exc)
        self._all.waiting.pop(self, None)
        self._unset_keepalive_if_required()
        self._stop_arrival_timer()
        self._stop_answer_timer()

    def data_received(self, data: bytes) -> None:
        """Read on. Most requests come whole, so only one that does not has a timer."""
        super().data_received(data)
        cycle = self.cycle
        if self._reading_header or cycle is None or cycle.response_complete:
            if self._arrival_timer is None:
                self._expect(self._all.header_seconds, SLOW_HEADER)
            else:
                self._header_bytes += len(data)
                if self._header_bytes > MAX_HEADER_BYTES:
                    self._refuse(TOO_LONG)
        elif cycle.more_body and not self._expecting_body:
            self._stop_arrival_timer()
            self._expecting_body = True
            self._expect(self._all.body_seconds, SLOW_BODY)
        elif not cycle.more_body and self._arrival_timer is not None:
            self._stop_arrival_timer()

    def on_message_begin(self) -> None:
        """Note the first byte of a request: the client is no longer idle."""
        super().on_message_begin()
        self._reading_header = True
        if self._all.waiting.pop(self, self) is None:
            self._all.waiting[self] = None

    def on_headers_complete(self) -> None:
        """Note the end of the header."""
        self._reading_header = False
        super().on_headers_complete()
        extensions: dict[str, Any] = {WHOLE_ANSWER: partial(self._answer, self.cycle)}
        self.scope["extensions"] = extensions

    async def _answer(self, cycle: RequestResponseCycle, head: bytes, body: bytes) -> None:
        """Write an answer at once, whose `head` has its status and headers up to the empty line.

        ASGI's two messages are two calls of the kernel, which take as long as a value takes to be sealed.
        """
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        date = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers])
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        self.transport.write(b"".join([head, date, end, body]))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def on_message_complete(self) -> None:
        """Note the end of the request: now the client waits for us."""
        self._all.waiting.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note the end of the answer: now we wait for the client."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._all.waiting[self] = None

    def pause_writing(self) -> None:
        """Note that the client does not take its answer."""
        super().pause_writing()
        self._answer_timer = self.loop.call_later(self._all.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the client took what had piled up."""
        super().resume_writing()
        self._stop_answer_timer()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(MALFORMED)

    def _unsupported_upgrade_warning(self) -> None:
        """No line in the log for a header that any client can send."""

    def _refuse(self, problem: ProblemError) -> None:
        """Answer with a problem, unless the client waits for another answer first, and close."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        in_body = cycle is not None and cycle.more_body and not (cycle.response_started or self.pipeline)
        if cycle is None or cycle.response_complete or in_body:
            body = problem.body()
            headers = {
                "content-type": MEDIA_TYPE,
                "cache-control": "no-store",
                "content-length": str(len(body)),
                **(problem.headers or {}),
            }
            lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
            self.transport.write(b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body]))
        if cycle is not None:
            cycle.disconnected = True
        self.transport.close()

    def _expect(self, seconds: float, otherwise: ProblemError) -> None:
        self._arrival_timer = self.loop.call_later(seconds, self._refuse, otherwise)

    def _stop_arrival_timer(self) -> None:
        self._header_bytes = 0
        self._expecting_body = False
        if self._arrival_timer is not None:
            self._arrival_timer.cancel()
            self._arrival_timer = None

    def _stop_answer_timer(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None
