"""Bodies of exports and imports: the lines of an export, and what an import sends of them.

An export is lines of JSON: one `ExportHeader`, one `ExportedRow` for each key, and one `ExportEnd`, without
which it is not whole. Where the server could not finish it, a problem stands in the place of the end.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from .types import Database

FORMAT: Final = "dumbkv-export/1"
MEDIA_TYPE: Final = "application/x-ndjson"
MAX_ROWS: Final = 1000
# What one import may bring: so no number of mistakes uses all revisions up.
LAST_IMPORTED_REVISION: Final = 2**48

RowId = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{64}$",
        description="The row id in hex digits: a hash of the key, which nobody can turn back.",
        examples=["00" * 32],
    ),
]
# Base64 of 0x01, the number of a pepper, a nonce, a ciphertext and its tag: at least 30 bytes.
SEALED = "^A[Q-Za-f][A-Za-z0-9+/]{38}([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
Blob = Annotated[
    bytes,
    Meta(
        min_length=30,
        description="The sealed value in base64.",
        extra_json_schema={"pattern": SEALED},
        examples=["AQ" + "A" * 38],
    ),
]
ExpiresAt = (
    Annotated[int, Meta(ge=0, le=2**53 - 1, description="When it expires: milliseconds since 1970.")] | None
)
Fingerprint = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", examples=["00" * 16])]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", examples=["00" * 32])]
"""SHA-256 in hex digits."""


class PepperFingerprint(Struct, forbid_unknown_fields=True):
    """What recognises a pepper, and tells nothing about it."""

    number: Annotated[int, Meta(ge=0, le=255, examples=[1])]
    fingerprint: Fingerprint


class ExportHeader(Struct, kw_only=True):
    """The first line of an export."""

    format: Literal["dumbkv-export/1"] = FORMAT
    created_at: Annotated[str, Meta(description="The moment of the store that this is (RFC 3339).")]
    last_revision: Annotated[int, Meta(ge=0, description="The last that the store had given.")]
    legacy_rows: Annotated[
        int, Meta(ge=0, description="Rows of the original DumbKV that the store has and this export has not.")
    ]
    peppers: list[PepperFingerprint]


class ExportedRow(Struct, forbid_unknown_fields=True, kw_only=True):
    """One key and its value, as they are stored: hashed and sealed."""

    row_id: RowId
    database: Database
    revision: Annotated[int, Meta(ge=1, le=LAST_IMPORTED_REVISION, examples=[7])]
    expires_at: ExpiresAt
    blob: Blob


class ExportEnd(Struct, kw_only=True):
    """The last line of a whole export."""

    rows: Annotated[int, Meta(ge=0)]
    peppers: Annotated[list[int], Meta(description="Numbers of the peppers under which these rows are.")]
    sha256: Annotated[Digest, Meta(description="Of all lines before this one, each with its newline.")]


class ImportStartRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is going to be imported: under which peppers, and how many revisions it needs."""

    peppers: Annotated[list[PepperFingerprint], Meta(max_length=256)]
    last_revision: Annotated[int, Meta(ge=0, le=LAST_IMPORTED_REVISION, examples=[7])]
    existing: Annotated[
        Literal["refuse", "keep", "replace"],
        Meta(description="What becomes of keys that are there: with `refuse` there may be none."),
    ] = "refuse"


class ImportStartResponse(Struct):
    """The import may send its rows, with this offset: it is added to the revision of each."""

    offset: Annotated[int, Meta(ge=0, examples=[0])]
    status: Literal["success"] = "success"


class ImportRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """Some rows of an export. All of them are stored in one transaction."""

    offset: Annotated[int, Meta(ge=0, le=2**53 - 1, examples=[0])]
    replace: Annotated[bool, Meta(description="Replace the keys that are there; else they stay.")] = False
    rows: Annotated[list[ExportedRow], Meta(max_length=MAX_ROWS)]


class ImportResponse(Struct):
    """The rows are stored durably: how many, and how many not."""

    imported: Annotated[int, Meta(ge=0, examples=[1])]
    existing: Annotated[int, Meta(ge=0, description="Their keys were there already, and stayed.")]
    expired: Annotated[int, Meta(ge=0, description="They had expired.")]
    status: Literal["success"] = "success"


TYPES: Final[tuple[type[Any], ...]] = (
    ExportHeader,
    ExportedRow,
    ExportEnd,
    ImportStartRequest,
    ImportStartResponse,
    ImportRequest,
    ImportResponse,
)
