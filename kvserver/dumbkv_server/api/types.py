"""Request and response bodies. They are decoded and encoded by msgspec and documented in /openapi.json.

Unknown fields are refused: whoever asks for a condition or an expiry that this server does not know must not
be told that it was kept.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

LAST_DATABASE = 2147483647
Database = Annotated[
    int, Meta(ge=0, le=LAST_DATABASE, description="Which of the store's databases.", examples=[0])
]
Key = Annotated[str, Meta(description="The key, at most 1 KiB of UTF-8. It is a secret.", examples=["k"])]
Value = Annotated[str, Meta(description="The value, at most 1 MiB of UTF-8.", examples=["v"])]
Revision = Annotated[
    int,
    Meta(
        ge=1,
        description="Number of this write in the whole store: strictly increasing, never reused.",
        examples=[7],
    ),
]
ExpiresAt = Annotated[
    str | None, Meta(description="When the key expires (RFC 3339), or null.", examples=[None])
]


# A hundred years: more is a mistake, and still a date that every client can read.
MAX_TTL_SECONDS = 100 * 365.25 * 86400
TTL = (
    Annotated[
        float,
        Meta(gt=0, le=MAX_TTL_SECONDS, description="Seconds until the key expires.", examples=[3600]),
    ]
    | None
)
IfRevision = (
    Annotated[
        int, Meta(ge=1, le=2**63 - 1, description="Only if the key has this revision now.", examples=[7])
    ]
    | None
)


class PutRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """A key and the value to store under it, over what is there unless a condition forbids it.

    At most one condition may be given.
    """

    database: Database = 0
    key: Key
    value: Value
    ttl: TTL = None
    if_revision: IfRevision = None
    if_absent: Annotated[bool, Meta(description="Only if there is no such key.")] = False


class GetRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """A key to get."""

    database: Database = 0
    key: Key


class DeleteRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """A key to delete, unless a condition forbids it."""

    database: Database = 0
    key: Key
    if_revision: IfRevision = None


class PutOperation(PutRequest, forbid_unknown_fields=True, kw_only=True, tag_field="op", tag="put"):
    """Store a value."""


class GetOperation(GetRequest, forbid_unknown_fields=True, kw_only=True, tag_field="op", tag="get"):
    """Get a value."""


class DeleteOperation(DeleteRequest, forbid_unknown_fields=True, kw_only=True, tag_field="op", tag="delete"):
    """Delete a key."""


class BatchRequest(Struct, forbid_unknown_fields=True):
    """Operations that are done in order and in one transaction: all of them or none."""

    operations: Annotated[
        list[PutOperation | GetOperation | DeleteOperation], Meta(min_length=1, max_length=1000)
    ]


class PutResponse(Struct):
    """The value is stored durably."""

    revision: Revision
    status: Literal["success"] = "success"


class GetResponse(Struct):
    """The stored value."""

    value: Value
    revision: Revision
    expires_at: ExpiresAt


class DeleteResponse(Struct):
    """The key is gone. `deleted` says whether there was one."""

    deleted: Annotated[bool, Meta(examples=[True])]
    status: Literal["success"] = "success"


class NoValue(Struct):
    """What a `get` in a batch answers for a key that is not there."""

    value: None = None
    revision: None = None
    expires_at: None = None


class BatchResponse(Struct):
    """All operations are done, durably. One result for each, in order."""

    # What is only encoded needs no tags to tell it apart, which msgspec would ask for.
    results: Annotated[
        list[Any],
        Meta(
            extra_json_schema={
                "items": {
                    "anyOf": [
                        {"$ref": f"#/components/schemas/{result.__name__}"}
                        for result in (PutResponse, GetResponse, DeleteResponse, NoValue)
                    ]
                }
            }
        ),
    ]


class DatabaseKeys(Struct):
    """One database, and how many keys it has."""

    database: Database
    keys: Annotated[int, Meta(ge=0, examples=[12])]


class PepperKeys(Struct):
    """One pepper, and how many keys are under it: with none left it may be taken out of the pepper file."""

    pepper: Annotated[int, Meta(ge=0, le=255)]
    keys: Annotated[int, Meta(ge=0, examples=[12])]


class DatabasesResponse(Struct):
    """Every database that has keys, and every pepper that may have some, in order."""

    databases: list[DatabaseKeys]
    peppers: list[PepperKeys]


class DropResponse(Struct):
    """All keys of the database are gone. `deleted` says how many there were."""

    deleted: Annotated[int, Meta(ge=0, examples=[12])]
    status: Literal["success"] = "success"


class Health(Struct, omit_defaults=True):
    """Whether the database answers; the reason where it does not."""

    status: Annotated[str, Meta(examples=["healthy"])]
    reason: str | None = None


class ProblemBody(Struct):
    """An error as RFC 9457 describes it. It never repeats a key, a value or a token."""

    type: Annotated[str, Meta(description="An identifier of the kind of problem.")]
    title: Annotated[str, Meta(description="The kind of problem in words.")]
    status: Annotated[int, Meta(ge=400, le=599, description="The HTTP status.")]
    detail: Annotated[str, Meta(description="This problem, and what to do about it.")]
    code: Annotated[str, Meta(description="The kind of problem, for programs.")]
