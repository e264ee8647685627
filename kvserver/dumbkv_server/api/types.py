"""Request and response bodies. They are decoded and encoded by msgspec and documented in /openapi.json.

Unknown fields are refused: whoever asks for a condition or an expiry that this server does not know must not
be told that it was kept.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Database = Annotated[
    int, Meta(ge=0, le=2147483647, description="Which of the store's databases.", examples=[0])
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


class PutRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """A key and the value to store under it; a value that is there is overwritten."""

    database: Database = 0
    key: Key
    value: Value


class KeyRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """A key to get or to delete."""

    database: Database = 0
    key: Key


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
