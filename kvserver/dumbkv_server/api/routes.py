"""The calls on keys and databases: plain ASGI, as one request's way must be short."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from dumbkv_server.auth import Authenticator, ForbiddenError, TooManyFailuresError, UnauthenticatedError
from dumbkv_server.limits import ENVELOPE_BYTES, JSON_EXPANSION, Body, ClientGoneError, Limits
from dumbkv_server.store import Condition
from dumbkv_server.vault import Entry, Read, Remove, Vault, Write

from .problems import CLOSE, ProblemError, from_validation, problem_of
from .responses import send_json, send_problem
from .types import (
    LAST_DATABASE,
    BatchRequest,
    BatchResponse,
    DatabaseKeys,
    DatabasesResponse,
    DeleteRequest,
    DeleteResponse,
    DropResponse,
    GetRequest,
    GetResponse,
    NoValue,
    PepperKeys,
    PutRequest,
    PutResponse,
)

NO_PARAMETERS: Mapping[str, str] = {}
ENCODER = msgspec.json.Encoder()
PUT = msgspec.json.Decoder(PutRequest)
GET = msgspec.json.Decoder(GetRequest)
DELETE = msgspec.json.Decoder(DeleteRequest)
BATCH = msgspec.json.Decoder(BatchRequest)
Request = TypeVar("Request")


class Incoming(msgspec.Struct):
    """What a call is made of: its body, what its token may do, and the parameters of its path."""

    body: bytes
    scopes: frozenset[str]
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the scopes of which a token needs one to get in, and the longest body."""

    answer: Callable[[Incoming], Awaitable[bytes]]
    scopes: frozenset[str]
    body_bytes: int


class Admitted(msgspec.Struct):
    """A request whose header is all right: the call, what its token may do, and the room for its body."""

    call: Call
    scopes: frozenset[str]
    body: Body


class Endpoint:
    """The calls of one path, by method, each from a body to a body."""

    def __init__(self, calls: dict[str, Call], authenticator: Authenticator, limits: Limits) -> None:
        self._calls = calls
        self._authenticator = authenticator
        self._limits = limits
        self.methods: Collection[str] = calls.keys()

    def admit(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> Admitted:
        """Look at a request's header, whose names are in lower case; an error is a problem."""
        call = self._calls[method]
        authorization = content_type = content_length = content_encoding = None
        for name, value in headers:
            if name == b"authorization":
                authorization = value
            elif name == b"content-type":
                content_type = value
            elif name == b"content-length":
                content_length = value
            elif name == b"content-encoding":
                content_encoding = value
        scopes = self._authenticator.scopes(authorization)
        if scopes.isdisjoint(call.scopes):
            raise ForbiddenError
        _check_media_type(content_type, content_encoding)
        return Admitted(call, scopes, self._limits.body(content_length, call.body_bytes))

    async def in_turn(self, error: UnauthenticatedError) -> Exception:
        """What to answer who may not come in, once it is its turn: guesses are slowed."""
        try:
            await self._authenticator.refuse(error)
        except TooManyFailuresError as too_many:
            return too_many
        return error

    async def let_in(self, scope: Scope) -> Admitted:
        """Look at the header of a request that comes as ASGI; an error is a problem."""
        try:
            return self.admit(scope["method"], scope["headers"])
        except UnauthenticatedError as error:
            raise await self.in_turn(error) from None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of a server that passes it on as ASGI."""
        await or_problem(lambda observed: self._serve(scope, receive, observed), send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        admitted = await self.let_in(scope)
        try:
            await admitted.body.read(receive)
            answer = await answer_to(admitted, scope.get("path_params", NO_PARAMETERS))
        finally:
            admitted.body.release()
        await send_json(send, answer)


async def or_problem(serve: Callable[[Send], Awaitable[None]], send: Send) -> None:
    """Serve; an error is answered as its problem, unless the answer has begun: then it is passed on."""
    begun = False

    async def observed(message: Message) -> None:
        nonlocal begun
        begun = True
        await send(message)

    try:
        await serve(observed)
    except ClientGoneError:
        return
    except Exception as error:
        if begun:
            raise
        await send_problem(send, problem_of(error))


async def answer_to(admitted: Admitted, parameters: Mapping[str, str] = NO_PARAMETERS) -> bytes:
    """The body of the answer to a request whose body has arrived; an error is a problem."""
    return await admitted.call.answer(Incoming(admitted.body.whole(), admitted.scopes, parameters))


class Calls:
    """What each call does, from a body to a body."""

    def __init__(self, vault: Vault, limits: Limits) -> None:
        self._vault = vault
        self._limits = limits

    async def put(self, incoming: Incoming) -> bytes:
        """PUT /kv."""
        return ENCODER.encode(PutResponse(await self._vault.put(self._write(decode(PUT, incoming.body)))))

    async def get(self, incoming: Incoming) -> bytes:
        """POST /kv."""
        entry = await self._vault.get(self._read(decode(GET, incoming.body)))
        if entry is None:
            raise ProblemError(404, "key-not-found", "There is no such key in this database.")
        return ENCODER.encode(_value(entry))

    async def delete(self, incoming: Incoming) -> bytes:
        """DELETE /kv."""
        return ENCODER.encode(
            DeleteResponse(await self._vault.delete(self._remove(decode(DELETE, incoming.body))))
        )

    async def batch(self, incoming: Incoming) -> bytes:
        """POST /kv/batch."""
        calls = [self._call(operation) for operation in decode(BATCH, incoming.body).operations]
        needed = {"read" if isinstance(call, Read) else "write" for call in calls}
        if not incoming.scopes >= needed:
            raise ForbiddenError
        results = await self._vault.batch(calls, self._limits.batch_bytes)
        pairs = zip(calls, results, strict=True)
        return ENCODER.encode(BatchResponse([_result(call, result) for call, result in pairs]))

    async def databases(self, _: Incoming) -> bytes:
        """GET /databases."""
        counts = await self._vault.counts()
        databases = [DatabaseKeys(*count) for count in sorted(counts.databases.items())]
        peppers = [PepperKeys(*count) for count in sorted(counts.peppers.items())]
        return ENCODER.encode(DatabasesResponse(databases, peppers))

    async def drop(self, incoming: Incoming) -> bytes:
        """DELETE /databases/{database}."""
        text = incoming.parameters["database"]
        if not text.isascii() or not text.isdecimal() or len(text) > 10 or int(text) > LAST_DATABASE:
            raise ProblemError(422, "wrong-shape", f"A database is a number from 0 to {LAST_DATABASE}.")
        return ENCODER.encode(DropResponse(await self._vault.drop(int(text))))

    def _call(self, operation: PutRequest | GetRequest | DeleteRequest) -> Read | Write | Remove:
        if isinstance(operation, PutRequest):
            return self._write(operation)
        return self._read(operation) if isinstance(operation, GetRequest) else self._remove(operation)

    def _write(self, request: PutRequest) -> Write:
        self._limits.check_key(request.key)
        self._limits.check_value(request.value)
        if request.if_absent and request.if_revision is not None:
            raise ProblemError(422, "wrong-shape", "Give one condition: `if_revision` or `if_absent`.")
        condition = Condition(None) if request.if_absent else _if_revision(request.if_revision)
        return Write(request.database, request.key, request.value, request.ttl, condition)

    def _read(self, request: GetRequest) -> Read:
        self._limits.check_key(request.key)
        return Read(request.database, request.key)

    def _remove(self, request: DeleteRequest) -> Remove:
        self._limits.check_key(request.key)
        return Remove(request.database, request.key, _if_revision(request.if_revision))


def endpoints(vault: Vault, authenticator: Authenticator, limits: Limits) -> dict[str, Endpoint]:
    """The endpoints of all calls on keys and databases, by their paths."""
    calls = Calls(vault, limits)
    read, write, either = frozenset({"read"}), frozenset({"write"}), frozenset({"read", "write"})
    key_bytes = JSON_EXPANSION * limits.key_bytes + ENVELOPE_BYTES
    paths = {
        "/kv": {
            "PUT": Call(calls.put, write, limits.body_bytes),
            "POST": Call(calls.get, read, key_bytes),
            "DELETE": Call(calls.delete, write, key_bytes),
        },
        "/kv/batch": {"POST": Call(calls.batch, either, limits.batch_bytes)},
        "/databases": {"GET": Call(calls.databases, read, 0)},
        "/databases/{database}": {"DELETE": Call(calls.drop, frozenset({"admin"}), 0)},
    }
    return {path: Endpoint(of_path, authenticator, limits) for path, of_path in paths.items()}


def route(path: str, endpoint: Endpoint) -> Route:
    """The router's way to an endpoint."""
    result = Route(path, endpoint, methods=list(endpoint.methods), include_in_schema=False)
    # Starlette adds HEAD to each GET.
    (result.methods or set()).discard("HEAD")
    return result


def _if_revision(revision: int | None) -> Condition | None:
    return None if revision is None else Condition(revision)


def _result(
    call: Read | Write | Remove, result: Entry | int | bool | None
) -> PutResponse | GetResponse | DeleteResponse | NoValue:
    if isinstance(result, Entry):
        return _value(result)
    if result is None:
        return NoValue()
    return PutResponse(result) if isinstance(call, Write) else DeleteResponse(bool(result))


def _value(entry: Entry) -> GetResponse:
    expires_at = None if entry.expires_at is None else _timestamp(entry.expires_at)
    return GetResponse(entry.value, entry.revision, expires_at)


def _check_media_type(content_type: bytes | None, content_encoding: bytes | None) -> None:
    """415 unless the body is JSON as it is. A request without a content type is taken for JSON."""
    if content_type is not None and content_type != b"application/json":
        kind = content_type.partition(b";")[0].strip().lower()
        if kind != b"application/json":
            raise ProblemError(415, "not-json", "Send 'Content-Type: application/json'.", CLOSE)
    if content_encoding is not None and content_encoding.lower() != b"identity":
        raise ProblemError(415, "compressed", "Send the body without a Content-Encoding.", CLOSE)


def decode(decoder: msgspec.json.Decoder[Request], body: bytes) -> Request:
    """A body as its type; an error is a problem."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise from_validation(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProblemError(400, "not-json", "The body is not JSON in UTF-8.") from None


def _timestamp(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
