"""Sending an answer with as few steps as possible; used by every route in a request's way."""

from http import HTTPStatus

from starlette.types import Send

from .problems import MEDIA_TYPE, ProblemError

# Answers hold secrets: nothing between this server and its client may keep them.
NO_STORE = (b"cache-control", b"no-store")
JSON = (b"content-type", b"application/json")


ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: %d\r\n"
)


def json_head(body: bytes) -> bytes:
    """Status line and headers of an answer of JSON, up to where others may follow."""
    return ANSWER % len(body)


def problem_head(problem: ProblemError, body: bytes) -> bytes:
    """Status line and headers of a problem, up to where others may follow; `connection` is one of those."""
    status = HTTPStatus(problem.status)
    headers = [header for header in _problem_headers(problem, body) if header[0] != b"connection"]
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join([b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()), *lines])


async def send_json(send: Send, body: bytes) -> None:
    """Answer with success and JSON."""
    headers = [JSON, NO_STORE, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_problem(send: Send, problem: ProblemError) -> None:
    """Answer with a problem."""
    body = problem.body()
    headers = _problem_headers(problem, body)
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _problem_headers(problem: ProblemError, body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", MEDIA_TYPE.encode()),
        NO_STORE,
        (b"content-length", b"%d" % len(body)),
        *[(name.encode(), value.encode()) for name, value in (problem.headers or {}).items()],
    ]
