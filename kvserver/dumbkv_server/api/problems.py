"""Every error that a client can get, as application/problem+json (RFC 9457)."""

import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from dumbkv_server.auth import ForbiddenError, TooManyFailuresError, UnauthenticatedError
from dumbkv_server.crypto import CannotOpenError
from dumbkv_server.limits import BusyError, TooLargeError
from dumbkv_server.store import (
    RETRY_AFTER_SECONDS,
    AnswerTooLargeError,
    ConditionError,
    StoreUnavailableError,
)
from dumbkv_server.store.batching import ClosingError, QueueFullError
from dumbkv_server.store.transfer import (
    LegacyRowsError,
    NotEmptyError,
    NotReservedError,
    TooManyChangesError,
)

from .types import ProblemBody

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
RETRY = {"retry-after": str(RETRY_AFTER_SECONDS)}
# The rest of a body that was refused is not read: the connection cannot be used again.
CLOSE = {"connection": "close"}


@dataclass(eq=False)
class ProblemError(Exception):
    """An error on its way to the client. `headers` have lower-case names."""

    status: int
    code: str
    detail: str
    headers: Mapping[str, str] | None = None

    @property
    def closes(self) -> bool:
        """Whether the connection cannot be used again."""
        return self.headers is not None and "connection" in self.headers

    def body(self) -> bytes:
        """The problem as JSON."""
        return msgspec.json.encode(
            ProblemBody(
                type=f"urn:dumbkv:problem:{self.code}",
                title=HTTPStatus(self.status).phrase,
                status=self.status,
                detail=self.detail,
                code=self.code,
            )
        )


# What is the same problem each time.
UNAUTHENTICATED = ProblemError(
    401,
    "unauthenticated",
    "Send a token that this server knows: 'Authorization: Bearer <token>'.",
    {"www-authenticate": 'Bearer realm="dumbkv"'},
)
PROBLEMS = {
    ForbiddenError: ProblemError(
        403, "forbidden", "The token's scopes do not allow this; use another token."
    ),
    BusyError: ProblemError(
        503,
        "too-many-requests",
        "Too many requests are being answered; try again later.",
        {**RETRY, **CLOSE},
    ),
    QueueFullError: ProblemError(503, "write-queue-full", "Too many writes wait; try again later.", RETRY),
    ClosingError: ProblemError(503, "draining", "This process is stopping; try again.", RETRY),
    NotEmptyError: ProblemError(
        409, "not-empty", "The store has keys, and this import does not say what becomes of them."
    ),
    NotReservedError: ProblemError(
        409,
        "not-reserved",
        "These revisions are not reserved, or none are left: start the import anew.",
    ),
    TooManyChangesError: ProblemError(
        503,
        "too-many-changes",
        "More is written than can be set aside for an export: take it faster, or when less is written.",
        RETRY,
    ),
    CannotOpenError: ProblemError(500, "damaged-value", "The stored value is damaged or was tampered with."),
}


def problem_of(error: Exception) -> ProblemError:
    """The problem that an error of the inner rooms is to a client; an unexpected one is logged."""
    problem = _expected(error)
    if problem is None:
        # The message of an error may hold what a client sent; where it happened does not.
        places = "".join(traceback.format_tb(error.__traceback__))
        log.error("unexpected %s\n%s", type(error).__name__, places)
        return UNEXPECTED
    return problem


def _expected(error: Exception) -> ProblemError | None:
    match error:
        case ProblemError():
            return error
        case TooLargeError():
            headers = CLOSE if error.code == "body" else None
            return ProblemError(
                413, f"{error.code}-too-large", f"The {error.code} may have {error.limit} bytes.", headers
            )
        case AnswerTooLargeError():
            return ProblemError(
                413,
                "answer-too-large",
                f"The values that a batch gets may have {error.limit} bytes; get fewer. Nothing was changed.",
            )
        case UnauthenticatedError():
            return UNAUTHENTICATED
        case TooManyFailuresError():
            return ProblemError(
                429,
                "too-many-failures",
                "The token is not known, and too many like it were sent; try again later.",
                {"retry-after": str(error.seconds), **CLOSE},
            )
        case ConditionError():
            return ProblemError(
                409,
                "condition-failed",
                f"The condition of operation {error.index} (from 0) does not hold; nothing was changed.",
            )
        case LegacyRowsError():
            return ProblemError(
                409,
                "legacy-rows",
                f"The store has {error.rows} rows of the original DumbKV. Whoever has such a row can read "
                "it, so no export takes it, and no import goes over it; it changes its form when it is read "
                "or written. With `legacy=omit` an export leaves them out.",
            )
        case StoreUnavailableError(unknown=True):
            return ProblemError(
                503,
                "outcome-unknown",
                "The database was lost while committing: the write may be stored or not. Read the key again.",
                RETRY,
            )
        case StoreUnavailableError():
            return ProblemError(
                503, "database-unavailable", "The database does not answer; try again later.", RETRY
            )
    return PROBLEMS.get(type(error))


def from_validation(error: msgspec.ValidationError) -> ProblemError:
    """422 for a body of the wrong shape. It names the field; what the client sent is not repeated."""
    text = str(error)
    if "unknown field" in text:
        # The name that the client used may itself be a secret, sent in the wrong place.
        text = "Object contains a field that this call does not have"
    elif text.startswith("Invalid"):
        # The value stands before its place.
        text = f"Invalid value - at {text.rpartition(' - at ')[2]}"
    return ProblemError(422, "wrong-shape", f"{text}.")


def from_status(status: int, headers: Mapping[str, str] | None) -> ProblemError:
    """A problem for what the router refuses."""
    if status == HTTPStatus.NOT_FOUND:
        return ProblemError(404, "no-such-route", "There is nothing at this path; see /docs.", headers)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return ProblemError(405, "method-not-allowed", "This path has no such method; see /docs.", headers)
    return ProblemError(
        status, HTTPStatus(status).phrase.lower().replace(" ", "-"), HTTPStatus(status).phrase, headers
    )


UNEXPECTED = ProblemError(500, "internal-error", "The server failed; its log has the error.")
