"""What leaves and enters a store as it is stored: whole rows, sealed, without their keys.

An export is one moment of the store: of what is written while it is taken, nothing is in it.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# What is read or written at once, so that those who wait behind it hardly notice.
PAGE_ROWS: Final = 1000
PAGE_BYTES: Final = 1024 * 1024
# A number that every reader of JSON keeps exactly.
LAST_REVISION: Final = 2**53 - 1


class NotEmptyError(Exception):
    """The store has keys, and the import was to find none."""


class LegacyRowsError(Exception):
    """The store has this many rows of the original DumbKV, which cannot be exported or imported over.

    Each of them has the key to its value beside it, so outside of the store they would be no secret; and none
    can be told apart from the rows of an export, as its key is not known.
    """

    def __init__(self, rows: int) -> None:
        super().__init__(f"there are {rows} rows of the original DumbKV")
        self.rows = rows


class NotReservedError(Exception):
    """The revisions of an import were not reserved, or there are none left."""


class TooManyChangesError(Exception):
    """So much was written while an export was taken that it could not be kept at its moment."""


@dataclass(frozen=True, slots=True)
class Record:
    """One stored row with its database. `expires_at` is in milliseconds since 1970, or None."""

    row_id: bytes
    database: int
    revision: int
    expires_at: int | None
    blob: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A store at one moment. Its pages have all rows that had not expired, each once.

    Taking a page raises StoreUnavailableError or TooManyChangesError.
    """

    last_revision: int
    """The last one that the store had given."""
    fingerprints: Mapping[int, bytes]
    """Of each pepper, by its number, that the store was ever opened with."""
    legacy_rows: int
    """Rows of the original DumbKV: they are not among the pages."""
    pages: AsyncGenerator[Sequence[Record], None]


@dataclass(frozen=True, slots=True)
class Imported:
    """How many records were stored, and how many not: their keys were there already, or they had expired."""

    imported: int
    existing: int
    expired: int


def select(records: Sequence[Record], now: int) -> tuple[list[Record], int]:
    """The records that have not expired by `now` (milliseconds since 1970), and how many have.

    Each row is there once: one statement cannot write it twice.
    """
    alive = [record for record in records if record.expires_at is None or record.expires_at > now]
    return list({record.row_id: record for record in alive}.values()), len(records) - len(alive)


def peppers(records: Sequence[Record]) -> set[int]:
    """The numbers of the peppers that these rows are under."""
    return {record.blob[1] for record in records}


def check_reserved(records: Sequence[Record], last_revision: int) -> None:
    """NotReservedError where a record has a revision that the store has not given or reserved."""
    if max((record.revision for record in records), default=0) > last_revision:
        raise NotReservedError
