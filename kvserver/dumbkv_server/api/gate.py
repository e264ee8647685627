"""The first and the last thing a request meets: it is counted, and its errors become problems."""

import logging
import time
import traceback
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dumbkv_server.limits import BusyError, ClientGoneError
from dumbkv_server.metrics import Metrics
from dumbkv_server.store import StoreStartError

from .problems import UNEXPECTED, ProblemError, from_error
from .responses import send_problem

log = logging.getLogger(__name__)
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"}
# What answers also while the server has too much to do: the kubelet and Prometheus must not lose sight of it.
ALWAYS = {"/livez", "/readyz", "/health", "/metrics"}


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        max_requests: int,
        route_of: Callable[[], Mapping[object, str]],
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._free = max_requests
        self._route_of = route_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or the start and the end of the process."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._free -= 1
        try:
            if self._free < 0 and scope["path"] not in ALWAYS:
                raise BusyError
            await self._app(scope, receive, observed)
        except ClientGoneError:
            pass
        except Exception as error:  # noqa: BLE001 (the outermost place: whatever it is, the client gets a problem)
            problem = from_error(error) or _unexpected(error)
            if status == 0:
                await send_problem(observed, problem)
        finally:
            self._free += 1
            if status:
                method = scope["method"] if scope["method"] in METHODS else "other"
                route = self._route_of().get(scope.get("endpoint"), "unmatched")
                self._metrics.request(method, route, status, time.perf_counter() - started)

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


def _unexpected(error: Exception) -> ProblemError:
    # The message of an error may hold what a client sent; where it happened does not.
    places = "".join(traceback.format_tb(error.__traceback__))
    log.error("unexpected %s\n%s", type(error).__name__, places)
    return UNEXPECTED
