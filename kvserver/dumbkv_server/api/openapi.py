"""The OpenAPI document, made from the types that decode and encode the bodies."""

from typing import Any

import msgspec

from dumbkv_server import __version__

from .problems import MEDIA_TYPE
from .transfer_types import MEDIA_TYPE as LINES
from .transfer_types import TYPES as TRANSFER_TYPES
from .transfer_types import (
    ImportRequest,
    ImportResponse,
    ImportStartRequest,
    ImportStartResponse,
)
from .types import (
    LAST_DATABASE,
    BatchRequest,
    BatchResponse,
    DatabasesResponse,
    DeleteRequest,
    DeleteResponse,
    DropResponse,
    GetRequest,
    GetResponse,
    Health,
    NoValue,
    PepperKeys,
    ProblemBody,
    PutOperation,
    PutRequest,
    PutResponse,
)

Json = dict[str, Any]
TYPES = (
    BatchRequest,
    BatchResponse,
    DatabasesResponse,
    DeleteRequest,
    DeleteResponse,
    DropResponse,
    GetRequest,
    GetResponse,
    Health,
    NoValue,
    PepperKeys,
    ProblemBody,
    PutRequest,
    PutResponse,
    *TRANSFER_TYPES,
)
DESCRIPTION = """A key-value store whose keys are secrets.

A key is hashed before it is stored, and its value is encrypted under a key that is derived from it. A key
travels only in a body, never in a URL. A 2xx for a write means that it is durable."""

EXPORT = """The store at one moment, as lines of JSON: a header, a row for each key, an end with their number
and a checksum. Keys are hashed and values sealed, as in the database. Without its end an export is not whole;
where the server could not finish it, a problem stands there. Needs the scope `admin`."""

PROBLEMS = {
    400: "The body is not JSON in UTF-8.",
    401: "No token, or one that is not known.",
    403: "The token's scopes do not allow this.",
    404: "There is no such key.",
    408: "The body did not arrive in time.",
    409: "A condition does not hold; nothing was changed.",
    413: "The body, the key, the value or a batch's answer is too large.",
    415: "The body is not `application/json`, or it is compressed.",
    422: "The body has the wrong shape. The field is named, its value is not.",
    429: "The token is not known, and too many like it were sent.",
    500: "The server failed, or the stored value is damaged.",
    503: "Too much waits, the database is away, or the process stops. With code `outcome-unknown` a write "
    "may or may not be stored.",
}

# What a put must not ask for.
TWO_CONDITIONS: Json = {
    "required": ["if_revision", "if_absent"],
    "properties": {"if_revision": {"type": "integer"}, "if_absent": {"const": True}},
}


def document(with_authentication: bool) -> Json:
    """The OpenAPI 3.1 document of every route."""
    _, components = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
    for put in (PutRequest, PutOperation):
        components[put.__name__]["not"] = TWO_CONDITIONS
    result: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "DumbKV",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": "keys"}, {"name": "databases"}, {"name": "transfer"}, {"name": "operations"}],
        "paths": {**_key_paths(), **_database_paths(), **_transfer_paths(), **_operations_paths()},
        "components": {"schemas": components},
    }
    if with_authentication:
        result["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "Scopes: read, write, admin."}
        }
        for path, operations in result["paths"].items():
            if path.startswith(("/kv", "/databases", "/export", "/import")):
                for operation in operations.values():
                    operation["security"] = [{"token": []}]
    return result


def _key_paths() -> Json:
    key = {"database": 0, "key": "k"}
    operations = [{"op": "put", **key, "value": "v"}, {"op": "get", **key}, {"op": "delete", **key}]
    calls = {
        "put": _call("putKey", "Store a value", PutResponse, skip={404}, scope="write"),
        "post": _call("getKey", "Get a value", GetResponse, skip={409}, scope="read"),
        "delete": _call("deleteKey", "Delete a key", DeleteResponse, skip={404}, scope="write"),
    }
    calls["put"]["requestBody"] = _body(PutRequest, {**key, "value": "v"})
    calls["post"]["requestBody"] = _body(GetRequest, key)
    calls["delete"]["requestBody"] = _body(DeleteRequest, key)
    batch = _call("batch", "Do several operations, all or none", BatchResponse, skip={404}, scope="read")
    batch["requestBody"] = _body(BatchRequest, {"operations": operations})
    batch["description"] = f"{BatchResponse.__doc__} Needs `read` for gets, `write` for puts and deletes."
    return {"/kv": calls, "/kv/batch": {"post": batch}}


def _database_paths() -> Json:
    skip = {400, 404, 409, 415}
    number = {
        "name": "database",
        "in": "path",
        "required": True,
        "schema": {"type": "integer", "minimum": 0, "maximum": LAST_DATABASE},
    }
    drop = _call("dropDatabase", "Delete all keys of a database", DropResponse, skip=skip, scope="admin")
    drop["parameters"] = [number]
    listing = _call(
        "listDatabases", "Which databases have keys", DatabasesResponse, skip=skip | {422}, scope="read"
    )
    for call in (drop, listing):
        call["tags"] = ["databases"]
    return {"/databases": {"get": listing}, "/databases/{database}": {"delete": drop}}


def _transfer_paths() -> Json:
    row = {"row_id": "00" * 32, "database": 0, "revision": 7, "expires_at": None, "blob": "AQ" + "A" * 38}
    start = _call(
        "startImport",
        "See whether an import can be done, and reserve its revisions",
        ImportStartResponse,
        skip={404},
        scope="admin",
    )
    start["requestBody"] = _body(ImportStartRequest, {"peppers": [], "last_revision": 7})
    rows = _call("importRows", "Store some rows of an export", ImportResponse, skip={404}, scope="admin")
    rows["requestBody"] = _body(ImportRequest, {"offset": 0, "rows": [row]})
    names = ", ".join(f"`{name}`" for name in ("ExportHeader", "ExportedRow", "ExportEnd"))
    export = {
        "operationId": "export",
        "summary": "All rows, as they are stored",
        "description": EXPORT,
        "parameters": [
            {
                "name": "legacy",
                "in": "query",
                "description": "With `omit`, rows of the original DumbKV are left out; without it, 409.",
                "schema": {"type": "string", "enum": ["omit"]},
            }
        ],
        "responses": {
            "200": _text(f"Lines of JSON: {names}.", LINES),
            **{str(status): _problem(status) for status in PROBLEMS if status not in {400, 404, 415}},
        },
    }
    for call in (export, start, rows):
        call["tags"] = ["transfer"]
    return {"/export": {"get": export}, "/import/start": {"post": start}, "/import": {"post": rows}}


def _body(request: type[msgspec.Struct], example: Json) -> Json:
    return {"required": True, "content": {"application/json": {"schema": _ref(request), "example": example}}}


def _call(
    identifier: str, summary: str, response: type[msgspec.Struct], *, skip: set[int], scope: str
) -> Json:
    problems = {str(status): _problem(status) for status in PROBLEMS if status not in skip}
    return {
        "operationId": identifier,
        "tags": ["keys"],
        "summary": summary,
        "description": f"{response.__doc__} Needs the scope `{scope}`.",
        "responses": {"200": _content(response.__doc__ or "", _ref(response)), **problems},
    }


def _problem(status: int) -> Json:
    answer = _content(PROBLEMS[status], _ref(ProblemBody), MEDIA_TYPE)
    if status in {429, 503}:
        answer["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    if status == 401:
        answer["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return answer


def _operations_paths() -> Json:
    health = {
        "200": _content("It does.", _ref(Health)),
        "503": _content("It does not; the reason says why.", _ref(Health)),
    }
    return {
        "/health": _get("health", "Does the database answer?", health),
        "/livez": _get("live", "Does the process turn its loop?", health),
        "/readyz": _get("ready", "Can the process serve?", health),
        "/metrics": _get("metrics", "Prometheus metrics", {"200": _text("Metrics.", "text/plain")}),
        "/": _get("page", "The web page", {"200": _text("The page.", "text/html")}),
    }


def _get(identifier: str, summary: str, responses: Json) -> Json:
    return {
        "get": {"operationId": identifier, "tags": ["operations"], "summary": summary, "responses": responses}
    }


def _text(description: str, media_type: str) -> Json:
    return _content(description, {"type": "string"}, media_type)


def _content(description: str, schema: Json, media_type: str = "application/json") -> Json:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _ref(struct: type[msgspec.Struct]) -> Json:
    return {"$ref": f"#/components/schemas/{struct.__name__}"}
