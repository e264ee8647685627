"""The first and the last thing a request meets: it is counted, and its errors become problems.

The calls on keys go straight from here to their endpoint: the framework's own way there, a dozen nested
functions for every request and every message of its answer, would cost as much as all the rest. From our own
connections they do not even come as ASGI: see exchange.py.
"""

import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dumbkv_server.limits import BusyError
from dumbkv_server.metrics import Metrics
from dumbkv_server.store import StoreStartError

from .problems import PROBLEMS, problem_of
from .responses import send_problem
from .routes import Endpoint

METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"}
# What answers also while the server has too much to do: the kubelet and Prometheus must not lose sight of it.
ALWAYS = {"/livez", "/readyz", "/health", "/metrics"}


class Gate:
    """ASGI around the whole application. `direct` has the endpoints of paths that need no router."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        max_requests: int,
        direct: Mapping[str, Endpoint],
        route_of: Mapping[object, str],
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._free = max_requests
        self._route_of = route_of
        self.direct = direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or the start and the end of the process."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def enter(self) -> float:
        """Let a request in, whatever comes of it, and return what `leave` needs; then ask `full`."""
        self._free -= 1
        return time.perf_counter()

    @property
    def full(self) -> bool:
        """Whether more requests are in than may be."""
        return self._free < 0

    def leave(self, entered: float, method: str, route: str, status: int) -> None:
        """Count a request that was answered with `status`, or, with 0, left without an answer."""
        self._free += 1
        if status:
            method = method if method in METHODS else "other"
            self._metrics.request(method, route, status, time.perf_counter() - entered)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, route = 0, "unmatched"

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        entered = self.enter()
        try:
            endpoint = self.direct.get(scope["path"])
            if self.full and scope["path"] not in ALWAYS:
                await send_problem(observed, PROBLEMS[BusyError])
            elif endpoint is not None and scope["method"] in endpoint.methods:
                route = scope["path"]
                await endpoint(scope, receive, observed)
            else:
                await self._app(scope, receive, observed)
        except Exception as error:  # noqa: BLE001 (the framework has answered, and passes it on to be logged)
            problem = problem_of(error)
            if status == 0:
                await send_problem(observed, problem)
        finally:
            self.leave(entered, scope["method"], self._route_of.get(scope.get("endpoint"), route), status)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A start that fails is one line in the log, not a traceback, where we know why it does."""
        failure: Message | None = None

        async def brief(message: Message) -> None:
            nonlocal failure
            if message["type"] == "lifespan.startup.failed":
                failure = message
                return
            await send(message)

        try:
            await self._app(scope, receive, brief)
        except Exception as error:
            if failure is None:
                raise
            if isinstance(error, StoreStartError):
                failure = {"type": "lifespan.startup.failed", "message": str(error)}
            # Without it uvicorn takes this for an application that needs no start, and serves.
            await send(failure)
