"""What a platform asks a process: is it alive, can it serve, how does it do."""

import msgspec
from fastapi import FastAPI, Request, Response

from dumbkv_server.lifecycle import Lifecycle
from dumbkv_server.metrics import Metrics
from dumbkv_server.store import Store, StoreOwnedError, StoreUnavailableError
from dumbkv_server.store.batching import ClosingError

from .types import Health

HEALTHY = msgspec.json.encode(Health("healthy"))
METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def add(app: FastAPI, store: Store, lifecycle: Lifecycle, metrics: Metrics) -> None:
    """Add the routes of the probes to the application. They need no token."""

    async def reason() -> str | None:
        try:
            await store.check()
        except StoreOwnedError as error:
            return f"the database is in use: {error.reason}"
        except StoreUnavailableError:
            # Hosts, users and paths are for the log; everybody may ask this.
            return "the database cannot be used; the log says why"
        except ClosingError:
            return "the process is stopping"
        return None

    async def health(_: Request) -> Response:
        return _answer(await reason())

    async def livez(_: Request) -> Response:
        return _answer("the database failed: only a restart can help" if store.fatal else None)

    async def readyz(_: Request) -> Response:
        return _answer("the process is stopping" if lifecycle.draining else await reason())

    async def render(_: Request) -> Response:
        return Response(metrics.render(), media_type=METRICS_MEDIA_TYPE)

    for path, endpoint in {"/health": health, "/livez": livez, "/readyz": readyz, "/metrics": render}.items():
        app.add_route(path, endpoint, include_in_schema=False)


def _answer(reason: str | None) -> Response:
    status, body = (
        (200, HEALTHY) if reason is None else (503, msgspec.json.encode(Health("unhealthy", reason)))
    )
    return Response(body, status, {"cache-control": "no-store"}, "application/json")
