"""A call on keys over one of our own connections, from its header to its answer, without ASGI between.

ASGI's task, event, scope and messages take about as long as sealing, storing and counting together. What an
endpoint does is the same either way; a server that has not our connections passes requests on as ASGI.
"""

from collections.abc import Coroutine, Iterable
from typing import ClassVar, Protocol

from dumbkv_server.auth import UnauthenticatedError
from dumbkv_server.limits import BusyError

from .gate import Gate
from .problems import problem_of
from .responses import json_head, problem_head
from .routes import Admitted, Endpoint, answer_to

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Client(Protocol):
    """What a call needs of its connection."""

    def send(self, data: bytes) -> None:
        """Write this, unless the client has gone."""

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Do this, and do not stop before it is done."""

    async def ready(self) -> None:
        """Return once the client takes data, or has gone."""

    def answer(self, exchange: "Exchange", head: bytes, body: bytes) -> None:
        """Write an answer, to whose head the connection's own lines are added, and go on."""


class _NoEvent:
    def set(self) -> None:
        """Nobody waits: the rest of a body, and that it will not come, are told by calls."""


class Exchange:
    """One call. uvicorn's protocol takes it for a `RequestResponseCycle`, whose public names it has."""

    __slots__ = (
        "_admitted", "_client", "_endpoint", "_entered", "_gate", "_inside", "_method", "_route",
        "disconnected", "keep_alive", "more_body", "response_complete", "response_started",
    )  # fmt: skip
    message_event: ClassVar[_NoEvent] = _NoEvent()

    def __init__(
        self, client: Client, gate: Gate, endpoint: Endpoint, method: str, route: str, keep_alive: bool
    ) -> None:
        self._client = client
        self._gate = gate
        self._endpoint = endpoint
        self._method = method
        self._route = route
        self._admitted: Admitted | None = None
        self.keep_alive = keep_alive
        self.more_body = True
        self.disconnected = self.response_started = self.response_complete = False
        self._entered = gate.enter()
        self._inside = True

    def begin(self, headers: Iterable[tuple[bytes, bytes]], expects_continue: bool) -> None:
        """Look at the header; a call that cannot be is refused."""
        try:
            if self._gate.full:
                raise BusyError
            self._admitted = self._endpoint.admit(self._method, headers)
        except UnauthenticatedError as error:
            self._client.spawn(self._refuse_in_turn(error))
        except Exception as error:  # noqa: BLE001 (whatever it is, the client gets a problem)
            self._refuse(error)
        else:
            if expects_continue:
                self._client.send(CONTINUE)

    def receive(self, part: bytes) -> None:
        """Keep a part of the body, unless the call is refused."""
        if self._admitted is not None and self._inside:
            try:
                self._admitted.body.add(part)
            except Exception as error:  # noqa: BLE001 (whatever it is, the client gets a problem)
                self._refuse(error)

    def abandon(self) -> None:
        """Forget a call whose body will not come."""
        if self.more_body:
            self._leave(0)

    def complete(self) -> None:
        """Answer the call, now that its body has come, unless it is refused."""
        self.more_body = False
        if self._admitted is not None and self._inside:
            self._client.spawn(self._run(self._admitted))

    async def _run(self, admitted: Admitted) -> None:
        try:
            answer = await answer_to(admitted)
            await self._client.ready()
            self._end(200, json_head(answer), answer)
        except Exception as error:  # noqa: BLE001 (whatever it is, the client gets a problem)
            await self._client.ready()
            self._refuse(error)
        finally:
            self._leave(0)

    async def _refuse_in_turn(self, error: UnauthenticatedError) -> None:
        try:
            self._refuse(await self._endpoint.in_turn(error))
        finally:
            self._leave(0)

    def _refuse(self, error: Exception) -> None:
        problem = problem_of(error)
        if problem.closes:
            self.keep_alive = False
        body = problem.body()
        self._end(problem.status, problem_head(problem, body), body)

    def _end(self, status: int, head: bytes, body: bytes) -> None:
        self.response_started = self.response_complete = True
        self._client.answer(self, head, body)
        self._leave(status)

    def _leave(self, status: int) -> None:
        if self._inside:
            self._inside = False
            if self._admitted is not None:
                self._admitted.body.release()
            self._gate.leave(self._entered, self._method, self._route, status)
