"""One client's connection: how long it may keep the server waiting, and which goes when there are too many.

uvicorn speaks HTTP; this bounds what it leaves open: the time that a header and a body may take to arrive,
that a new connection may say nothing and that an answer may wait to be taken, the size of a header, and the
number of connections.
Give it to uvicorn as `--http dumbkv_server.api.connection:Connection`.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from .exchange import Exchange
from .gate import Gate
from .problems import CLOSE, RETRY, ProblemError
from .responses import problem_head
from .routes import Endpoint

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
    """All connections of a process, where their calls go, and their limits: times in seconds."""

    gate: Gate
    maximum: int
    header_seconds: float
    body_seconds: float
    answer_seconds: float
    waiting: dict["Connection", None] = field(default_factory=dict)
    """Those that wait for their client, for its next request or the rest of one; the longest first."""

    direct: dict[bytes, tuple[str, Endpoint]] = field(init=False)
    """The gate's endpoints by URL as it is sent; one that is written in another way goes to the framework."""

    def __post_init__(self) -> None:
        """Index the endpoints."""
        self.direct = {path.encode(): (path, endpoint) for path, endpoint in self.gate.direct.items()}


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
        self._exchange: Exchange | None = None
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
        if self._exchange is not None:
            self._exchange.abandon()
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
        # What uvicorn makes for ASGI is made when it is known that ASGI is asked for.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._reading_header = True
        if self._all.waiting.pop(self, self) is None:
            self._all.waiting[self] = None

    def on_headers_complete(self) -> None:
        """Note the end of the header: a call on keys begins, or a request that goes to the framework."""
        self._reading_header = False
        direct = self._all.direct.get(self.url)
        if direct is not None and (self.cycle is None or self.cycle.response_complete):
            route, endpoint = direct
            method = self.parser.get_method().decode()
            if method in endpoint.methods:
                keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
                exchange = Exchange(self, self._all.gate, endpoint, method, route, keep_alive)
                self._exchange = exchange
                self.cycle = cast("RequestResponseCycle", exchange)
                exchange.begin(self.headers, self.expect_100_continue)
                return
        self._exchange = None
        url, headers, expects_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects_continue
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        if self._exchange is not None:
            self._exchange.receive(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of the request: now the client waits for us, if it is not answered already."""
        if not self.cycle.response_complete:
            self._all.waiting.pop(self, None)
        if self._exchange is None:
            super().on_message_complete()
            return
        self._exchange.complete()

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Do this, and do not stop before it is done."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def send(self, data: bytes) -> None:
        """Write this, unless the client has gone."""
        if not self.transport.is_closing():
            self.transport.write(data)

    async def ready(self) -> None:
        """Return once the client takes data, or has gone."""
        if self.flow.write_paused:
            await self.flow.drain()

    def answer(self, exchange: Exchange, head: bytes, body: bytes) -> None:
        """Write an answer in one piece, as each is a call of the kernel, and wait for the next request."""
        date = b"".join([b"%b: %b\r\n" % header for header in self.server_state.default_headers])
        end = b"\r\n" if exchange.keep_alive else b"connection: close\r\n\r\n"
        self.send(b"".join([head, date, end, body]))
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

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
            self.transport.write(problem_head(problem, body) + b"connection: close\r\n\r\n" + body)
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
