"""The calls that take all rows out of a store and bring them into another, as they are stored."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope, Send

from dumbkv_server.auth import Authenticator
from dumbkv_server.crypto import FORMAT, HEADER_BYTES, TAG_BYTES
from dumbkv_server.lifecycle import Lifecycle
from dumbkv_server.limits import Limits, TooLargeError
from dumbkv_server.store import Store
from dumbkv_server.store.batching import ClosingError
from dumbkv_server.store.transfer import LegacyRowsError, Record, Snapshot
from dumbkv_server.vault import Vault

from .problems import RETRY, ProblemError, problem_of
from .responses import NO_STORE
from .routes import Call, Endpoint, Incoming, decode
from .transfer_types import (
    MEDIA_TYPE,
    ExportedRow,
    ExportEnd,
    ExportHeader,
    ImportRequest,
    ImportResponse,
    ImportStartRequest,
    ImportStartResponse,
    PepperFingerprint,
)

log = logging.getLogger(__name__)
ADMIN = frozenset({"admin"})
# What a client must take within DUMBKV_ANSWER_TIMEOUT: also a slow one does.
SENT_AT_ONCE = 64 * 1024
# 256 peppers and the rest.
START_BYTES = 32 * 1024
ENCODER = msgspec.json.Encoder()
START = msgspec.json.Decoder(ImportStartRequest)
ROWS = msgspec.json.Decoder(ImportRequest)

RUNNING = ProblemError(503, "export-running", "Another export is being taken; try again later.", RETRY)
TIMEOUT = ProblemError(503, "export-timeout", "The export took longer than DUMBKV_EXPORT_TIMEOUT allows.")
HEADERS = [(b"content-type", MEDIA_TYPE.encode()), NO_STORE]


class Export(Endpoint):
    """GET /export: the store at one moment, line by line, as fast as the client takes it. One at a time."""

    def __init__(
        self,
        store: Store,
        authenticator: Authenticator,
        limits: Limits,
        lifecycle: Lifecycle,
        seconds: float,
    ) -> None:
        super().__init__({"GET": Call(_not_at_once, ADMIN, 0)}, authenticator, limits)
        self._store = store
        self._lifecycle = lifecycle
        self._seconds = seconds
        self._running = False

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Once it has begun, a failure is the last line in the place of the end."""
        admitted = await self.let_in(scope)
        try:
            await admitted.body.read(receive)
        finally:
            admitted.body.release()
        leave_out_legacy = _leave_out_legacy(scope["query_string"])
        if self._running:
            raise RUNNING
        self._running = True
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await self._answer(send, gone, leave_out_legacy)
        finally:
            self._running = False
            gone.cancel()

    async def _answer(self, send: Send, gone: "asyncio.Task[None]", leave_out_legacy: bool) -> None:
        sent = b""
        try:
            async with asyncio.timeout(self._seconds), self._store.snapshot(self._seconds) as snapshot:
                if snapshot.legacy_rows and not leave_out_legacy:
                    raise LegacyRowsError(snapshot.legacy_rows)
                async for lines in _lines(snapshot):
                    if not sent:
                        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                    for start in range(0, len(lines), SENT_AT_ONCE):
                        part = lines[start : start + SENT_AT_ONCE]
                        await send({"type": "http.response.body", "body": part, "more_body": True})
                        sent = part
                    if gone.done():
                        return
                    if self._lifecycle.draining:
                        raise ClosingError
        except Exception as error:
            problem = TIMEOUT if isinstance(error, TimeoutError) else problem_of(error)
            if not sent:
                raise problem from error
            log.warning("an export failed: %s", problem.code)
            # It may come in the middle of a line.
            line = b"" if sent.endswith(b"\n") else b"\n"
            await send({"type": "http.response.body", "body": line + problem.body() + b"\n"})
        else:
            await send({"type": "http.response.body", "body": b""})


class Import:
    """What brings the lines of an export into this store."""

    def __init__(self, store: Store, vault: Vault, limits: Limits) -> None:
        self._store = store
        self._vault = vault
        self._max_blob_bytes = limits.value_bytes + HEADER_BYTES + TAG_BYTES
        self._limits = limits

    async def start(self, incoming: Incoming) -> bytes:
        """POST /import/start: see whether it can be done, and reserve its revisions."""
        request = decode(START, incoming.body)
        only_empty = request.existing == "refuse"
        async with self._vault.steady() as peppers:
            _check_peppers(request, peppers)
            offset = await self._store.reserve(request.last_revision, only_empty=only_empty)
        log.info("an import begins; keys that are there: %s", request.existing)
        return ENCODER.encode(ImportStartResponse(offset))

    async def rows(self, incoming: Incoming) -> bytes:
        """POST /import: store some rows."""
        request = decode(ROWS, incoming.body)
        async with self._vault.steady() as peppers:
            records = [self._record(row, request.offset, peppers) for row in request.rows]
            done = await self._store.load(records, replace=request.replace)
        return ENCODER.encode(ImportResponse(done.imported, done.existing, done.expired))

    def _record(self, row: ExportedRow, offset: int, peppers: Mapping[int, bytes]) -> Record:
        if row.blob[0] != FORMAT:
            raise ProblemError(422, "wrong-shape", "A row's blob has an unknown format.")
        if row.blob[1] not in peppers:
            raise _other_pepper(row.blob[1])
        if len(row.blob) > self._max_blob_bytes:
            raise TooLargeError("value", self._limits.value_bytes)
        revision = offset + row.revision
        return Record(bytes.fromhex(row.row_id), row.database, revision, row.expires_at, row.blob)


def endpoints(into: Import, authenticator: Authenticator, limits: Limits) -> dict[str, Endpoint]:
    """The endpoints of an import by their paths; an export is one itself."""
    start = Call(into.start, ADMIN, START_BYTES)
    rows = Call(into.rows, ADMIN, max(limits.batch_bytes, limits.body_bytes))
    return {
        path: Endpoint({"POST": call}, authenticator, limits)
        for path, call in (("/import/start", start), ("/import", rows))
    }


async def _not_at_once(_: Incoming) -> bytes:
    raise AssertionError("an export is sent in parts, by `Export` itself")


async def _lines(snapshot: Snapshot) -> AsyncIterator[bytes]:
    """An export in pieces of about a mebibyte."""
    digest, count = sha256(), 0
    peppers: set[int] = set()
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fingerprints = [
        PepperFingerprint(number, fingerprint.hex()) for number, fingerprint in snapshot.fingerprints.items()
    ]
    header = ExportHeader(
        created_at=moment,
        last_revision=snapshot.last_revision,
        legacy_rows=snapshot.legacy_rows,
        peppers=fingerprints,
    )
    piece = ENCODER.encode(header) + b"\n"
    async for page in snapshot.pages:
        digest.update(piece)
        yield piece
        piece = ENCODER.encode_lines(map(_row, page))
        count += len(page)
        peppers.update(record.blob[1] for record in page)
    digest.update(piece)
    end = ExportEnd(rows=count, peppers=sorted(peppers), sha256=digest.hexdigest())
    yield piece + ENCODER.encode(end) + b"\n"
    log.info("exported %d rows", count)


def _row(record: Record) -> ExportedRow:
    return ExportedRow(
        row_id=record.row_id.hex(),
        database=record.database,
        revision=record.revision,
        expires_at=record.expires_at,
        blob=record.blob,
    )


def _leave_out_legacy(query: bytes) -> bool:
    """Whether the query says `legacy=omit`; 422 where it says anything else of it."""
    given = [value for name, value in parse_qsl(query.decode("latin-1"), True) if name == "legacy"]
    if given not in ([], ["omit"]):
        raise ProblemError(422, "wrong-shape", "`legacy` can only be `omit`.")
    return bool(given)


def _check_peppers(request: ImportStartRequest, peppers: Mapping[int, bytes]) -> None:
    for pepper in request.peppers:
        if peppers.get(pepper.number) != bytes.fromhex(pepper.fingerprint):
            raise _other_pepper(pepper.number)
    numbers = {pepper.number for pepper in request.peppers} | peppers.keys()
    if request.existing != "refuse" and len(numbers) > 1:
        raise ProblemError(
            409,
            "several-peppers",
            "There are several peppers, and under each a key has another row: whether a key is there "
            "already cannot be told. Import into an empty store.",
        )


def _other_pepper(number: int) -> ProblemError:
    return ProblemError(
        409,
        "other-peppers",
        f"The rows were written under a pepper {number} that this server was not given: "
        "give it the pepper file of the server that they come from.",
    )


async def _disconnected(receive: Receive) -> None:
    """Return when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
