"""PUT, POST and DELETE /kv: plain ASGI, as one request's way must be short."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from dumbkv_server.auth import Authenticator
from dumbkv_server.limits import ENVELOPE_BYTES, JSON_EXPANSION, ClientGoneError, Limits
from dumbkv_server.vault import Vault

from .problems import CLOSE, ProblemError, from_validation
from .responses import send_json
from .types import DeleteResponse, GetResponse, KeyRequest, PutRequest, PutResponse

ENCODER = msgspec.json.Encoder()
PUT = msgspec.json.Decoder(PutRequest)
KEY = msgspec.json.Decoder(KeyRequest)
Request = TypeVar("Request")
SCOPES = {"PUT": "write", "DELETE": "write", "POST": "read"}


class KeyValueEndpoint:
    """The three calls on one key, each from a body to a body."""

    def __init__(self, vault: Vault, authenticator: Authenticator, limits: Limits) -> None:
        self._vault = vault
        self._authenticator = authenticator
        self._limits = limits
        self._key_body_bytes = JSON_EXPANSION * limits.key_bytes + ENVELOPE_BYTES
        self._calls: dict[str, Callable[[bytes], Awaitable[bytes]]] = {
            "PUT": self._put,
            "POST": self._get,
            "DELETE": self._delete,
        }

    def route(self) -> Route:
        """The route that serves all three."""
        return Route("/kv", self, methods=list(self._calls), include_in_schema=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an error becomes a problem further out."""
        method: str = scope["method"]
        authorization = content_type = content_length = content_encoding = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"content-type":
                content_type = value
            elif name == b"content-length":
                content_length = value
            elif name == b"content-encoding":
                content_encoding = value
        self._authenticator.require(authorization, SCOPES[method])
        _check_media_type(content_type, content_encoding)
        maximum = self._limits.body_bytes if method == "PUT" else self._key_body_bytes
        try:
            body = await self._limits.read_body(receive, content_length, maximum)
        except ClientGoneError:
            return
        await send_json(send, 200, await self._calls[method](body))

    async def _put(self, body: bytes) -> bytes:
        request = _decode(PUT, body)
        self._limits.check_key(request.key)
        self._limits.check_value(request.value)
        revision = await self._vault.put(request.database, request.key, request.value)
        return ENCODER.encode(PutResponse(revision))

    async def _get(self, body: bytes) -> bytes:
        request = _decode(KEY, body)
        self._limits.check_key(request.key)
        entry = await self._vault.get(request.database, request.key)
        if entry is None:
            raise ProblemError(404, "key-not-found", "There is no such key in this database.")
        expires_at = None if entry.expires_at is None else _timestamp(entry.expires_at)
        return ENCODER.encode(GetResponse(entry.value, entry.revision, expires_at))

    async def _delete(self, body: bytes) -> bytes:
        request = _decode(KEY, body)
        self._limits.check_key(request.key)
        return ENCODER.encode(DeleteResponse(await self._vault.delete(request.database, request.key)))


def _check_media_type(content_type: bytes | None, content_encoding: bytes | None) -> None:
    """415 unless the body is JSON as it is. A request without a content type is taken for JSON."""
    if content_type is not None and content_type != b"application/json":
        kind = content_type.partition(b";")[0].strip().lower()
        if kind != b"application/json":
            raise ProblemError(415, "not-json", "Send 'Content-Type: application/json'.", CLOSE)
    if content_encoding is not None and content_encoding.lower() != b"identity":
        raise ProblemError(415, "compressed", "Send the body without a Content-Encoding.", CLOSE)


def _decode(decoder: msgspec.json.Decoder[Request], body: bytes) -> Request:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise from_validation(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProblemError(400, "not-json", "The body is not JSON in UTF-8.") from None


def _timestamp(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
