"""The FastAPI application from settings: which parts there are and how they are joined. No logic."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from . import __version__, rotation
from .api import connection, documents, probes, routes, transfer
from .api.gate import Gate
from .api.problems import MEDIA_TYPE, UNEXPECTED, ProblemError, from_status
from .auth import Authenticator, Brake
from .crypto import Keyring
from .files import Followed
from .lifecycle import Lifecycle
from .limits import Limits
from .metrics import Metrics
from .settings import Settings, parse_peppers
from .store import Store
from .store.sqlite import SQLiteStore
from .vault import Vault


class Application(FastAPI):
    """The FastAPI application behind its gate."""

    gate: Gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await self.gate(scope, receive, send)


def create(settings: Settings) -> Application:
    """The whole server. The database is opened when the application starts, not here."""
    logging.getLogger("dumbkv_server").setLevel(settings.log_level.upper())
    metrics = Metrics()
    keyring = Keyring(settings.peppers())
    store = _store(settings, keyring, metrics)
    lifecycle = Lifecycle(store, settings.drain_delay, settings.sweep_interval)
    vault = Vault(keyring, store)
    if settings.pepper_file is not None and settings.pepper is not None:
        text = settings.pepper.get_secret_value()
        followed = Followed(settings.pepper_file, text, parse_peppers, "pepper file")
        lifecycle.beside(lambda: rotation.follow(vault, followed))
    authenticator = Authenticator.create(
        settings.tokens(),
        settings.auth_tokens_file,
        brake=Brake(settings.auth_failure_interval, settings.max_waiting_auth_failures),
        on_failure=metrics.authentication_failure,
    )
    limits = Limits(
        settings.max_key_bytes,
        settings.max_value_bytes,
        settings.max_batch_bytes,
        settings.max_bytes_in_work,
    )
    endpoints = routes.endpoints(vault, authenticator, limits)
    endpoints |= transfer.endpoints(transfer.Import(store, vault, limits), authenticator, limits)
    export = transfer.Export(store, authenticator, limits, lifecycle, settings.export_timeout)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, object]]:
        async with lifecycle.running():
            yield {connection.STATE: connections}

    app = Application(
        title="DumbKV",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.lifecycle = lifecycle
    app.router.routes.extend(routes.route(*each) for each in endpoints.items())
    app.router.routes.append(routes.route("/export", export))
    probes.add(app, store, lifecycle, metrics)
    documents.add(app, settings)

    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _failed)
    app.gate = Gate(
        super(Application, app).__call__,
        metrics=metrics,
        max_requests=settings.max_requests,
        direct={path: endpoint for path, endpoint in endpoints.items() if "{" not in path},
        route_of={route.endpoint: route.path for route in app.routes if isinstance(route, Route)},
    )
    connections = connection.Connections(
        app.gate,
        maximum=settings.max_connections,
        header_seconds=settings.header_timeout,
        body_seconds=settings.body_timeout,
        answer_seconds=settings.answer_timeout,
    )
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
    return _response(from_status(error.status_code, error.headers))


async def _failed(_: Request, __: Exception) -> Response:
    """What nobody expected; the gate logs it."""
    return _response(UNEXPECTED)


def _response(problem: ProblemError) -> Response:
    return Response(problem.body(), problem.status, problem.headers, MEDIA_TYPE)
