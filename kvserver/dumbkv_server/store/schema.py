"""What both backends keep in `dumbkv_meta`: the format, and under which peppers rows may be.

A pepper is recorded before the first row is written under it, and forgotten when it is no longer given and
no row is left under it. Every process must have all that are recorded: so a wrong or a missing pepper is an
error and not an empty store.
"""

from collections.abc import Iterable, Mapping

from . import StoreStartError

VERSION = 1
PEPPER_PREFIX = "pepper/"


def settle(meta: Mapping[str, bytes], fingerprints: Mapping[int, bytes]) -> dict[str, bytes]:
    """The entries to add to a database's `dumbkv_meta`; StoreStartError where it is not ours to open.

    `fingerprints` are those of the peppers that this process was given, first the one that it writes under.
    """
    found = meta.get("version")
    if found is not None and int(found) > VERSION:
        raise StoreStartError(
            f"the database has format {found.decode()}, this server knows {VERSION}: use a newer server"
        )
    recorded = peppers(meta)
    for number, fingerprint in fingerprints.items():
        if recorded.get(number, fingerprint) != fingerprint:
            raise StoreStartError(
                f"pepper {number} is not the one that this database was written with: "
                "give the original DUMBKV_PEPPER_FILE, and add new peppers under new numbers"
            )
    newest = next(iter(fingerprints))
    wanted = {name_of(newest): fingerprints[newest], "version": str(VERSION).encode()}
    return {name: value for name, value in wanted.items() if name not in meta}


def peppers(meta: Mapping[str, bytes]) -> dict[int, bytes]:
    """The recorded peppers' fingerprints by their number."""
    return {
        int(name.removeprefix(PEPPER_PREFIX)): value
        for name, value in meta.items()
        if name.startswith(PEPPER_PREFIX)
    }


def name_of(number: int) -> str:
    """Under which name a pepper is recorded."""
    return f"{PEPPER_PREFIX}{number}"


def not_given(meta: Mapping[str, bytes], fingerprints: Iterable[int]) -> list[int]:
    """The recorded peppers that this process was not given."""
    return sorted(peppers(meta).keys() - set(fingerprints))


def agrees(meta: Mapping[str, bytes], fingerprints: Mapping[int, bytes]) -> bool:
    """Whether these peppers are enough, as the record is now: it has the first, and no other than these."""
    recorded = peppers(meta)
    return next(iter(fingerprints)) in recorded and recorded.items() <= fingerprints.items()


def still_needed(number: int) -> StoreStartError:
    """The error for a pepper that was not given and that has rows."""
    remedy = "the line '0 ' and 64 zeros" if number == 0 else "its line"
    return StoreStartError(
        f"rows are still stored under pepper {number}, which was not given: add {remedy} to the pepper file "
        "again. If it is lost for good, delete these rows, whose blob has that number as its second byte"
    )
