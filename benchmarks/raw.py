"""The limit of this machine: uvicorn answering a constant, with no framework and no store behind it."""

from starlette.types import Receive, Scope, Send

BODY = b'{"status":"success","revision":7,"value":"' + b"v" * 100 + b'"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, answer."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
