"""The FastAPI application from settings: which parts there are and how they are joined. No logic."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from . import __version__
from .api import connection, documents, probes, routes
from .api.gate import Gate
from .api.problems import MEDIA_TYPE, from_status
from .auth import Authenticator
from .crypto import Keyring
from .lifecycle import Lifecycle
from .limits import Limits
from .metrics import Metrics
from .settings import Settings
from .store import Store
from .store.sqlite import SQLiteStore
from .vault import Vault


def create(settings: Settings) -> FastAPI:
    """The whole server. The database is opened when the application starts, not here."""
    logging.getLogger("dumbkv_server").setLevel(settings.log_level.upper())
    metrics = Metrics()
    keyring = Keyring(settings.peppers())
    store = _store(settings, keyring, metrics)
    lifecycle = Lifecycle(store, settings.drain_delay, settings.sweep_interval)
    calls = routes.routes(
        Vault(keyring, store),
        Authenticator.create(settings.tokens(), settings.auth_tokens_file),
        Limits(
            settings.max_key_bytes,
            settings.max_value_bytes,
            settings.max_batch_bytes,
            settings.body_timeout,
            settings.max_bytes_in_work,
        ),
    )

    connections = connection.Connections(
        settings.max_connections, settings.header_timeout, settings.answer_timeout
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, object]]:
        async with lifecycle.running():
            yield {connection.STATE: connections}

    app = FastAPI(
        title="DumbKV",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.router.routes.extend(calls)
    probes.add(app, store, lifecycle, metrics)
    documents.add(app, settings)

    @cache
    def route_of() -> dict[object, str]:
        return {route.endpoint: route.path for route in app.routes if isinstance(route, Route)}

    app.add_middleware(Gate, metrics=metrics, max_requests=settings.max_requests, route_of=route_of)
    app.add_exception_handler(HTTPException, _refused)
    return app


def _store(settings: Settings, keyring: Keyring, metrics: Metrics) -> Store:
    fingerprints, waiting = keyring.fingerprints(), settings.max_waiting_writes
    if settings.database_type == "sqlite":
        return SQLiteStore(
            settings.location(),
            metrics,
            fingerprints=fingerprints,
            max_waiting_writes=waiting,
            wait_for_owner=settings.wait_for_owner,
        )
    # Only who uses PostgreSQL pays for its driver: ten megabytes and a third of a second.
    from .store.postgres import PostgresStore

    return PostgresStore(
        settings.location,
        metrics,
        fingerprints=fingerprints,
        max_waiting_writes=waiting,
        statement_timeout=settings.statement_timeout,
    )


async def _refused(_: Request, error: Exception) -> Response:
    """What the router refuses (404, 405) as a problem."""
    if not isinstance(error, HTTPException):
        raise error
    problem = from_status(error.status_code, error.headers)
    return Response(problem.body(), problem.status, problem.headers, MEDIA_TYPE)
