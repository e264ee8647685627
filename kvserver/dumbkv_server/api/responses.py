"""Sending an answer with as few steps as possible; used by every route in a request's way."""

from collections.abc import Mapping
from typing import Final

from starlette.types import Scope, Send

from .problems import MEDIA_TYPE, ProblemError

# Answers hold secrets: nothing between this server and its client may keep them.
NO_STORE = (b"cache-control", b"no-store")
JSON = (b"content-type", b"application/json")


# An extension of this server's own connections (ASGI's `scope["extensions"]`): a whole answer in one call.
WHOLE_ANSWER: Final = "dumbkv.whole-answer"
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: %d\r\n"
)


async def send_json(scope: Scope, send: Send, body: bytes) -> int:
    """Answer with success and JSON; the status."""
    whole = scope.get("extensions", {}).get(WHOLE_ANSWER)
    if whole is not None:
        await whole(HEAD % len(body), body)
        return 200
    headers = [JSON, NO_STORE, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    return 200


async def send_problem(send: Send, problem: ProblemError) -> int:
    """Answer with a problem; its status."""
    body = problem.body()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        NO_STORE,
        (b"content-length", b"%d" % len(body)),
        *_encoded(problem.headers or {}),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    return problem.status


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
