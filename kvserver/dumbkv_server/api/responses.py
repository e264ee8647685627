"""Sending an answer with as few steps as possible; used by every route in a request's way."""

from collections.abc import Mapping

from starlette.types import Send

from .problems import MEDIA_TYPE, ProblemError

# Answers hold secrets: nothing between this server and its client may keep them.
NO_STORE = (b"cache-control", b"no-store")
JSON = (b"content-type", b"application/json")


async def send_json(send: Send, status: int, body: bytes) -> None:
    """Answer with JSON."""
    headers = [JSON, NO_STORE, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_problem(send: Send, problem: ProblemError) -> None:
    """Answer with a problem."""
    body = problem.body()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        NO_STORE,
        (b"content-length", b"%d" % len(body)),
        *_encoded(problem.headers or {}),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
