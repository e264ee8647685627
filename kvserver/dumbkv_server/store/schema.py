"""What both backends keep in `dumbkv_meta`: the format, and which peppers were used."""

import logging
from collections.abc import Mapping

from . import StoreStartError

log = logging.getLogger(__name__)
VERSION = 1
PEPPER_PREFIX = "pepper/"


def settle(meta: Mapping[str, bytes], fingerprints: Mapping[int, bytes]) -> dict[str, bytes]:
    """The entries to add to a database's `dumbkv_meta`; StoreStartError where it is not ours to open.

    `fingerprints` are those of the peppers that this process was given. A database remembers the fingerprint
    of each pepper number, so that a wrong pepper is an error at the start and not an empty store.
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
    for number in sorted(recorded.keys() - fingerprints.keys()):
        log.warning(
            "rows that were written under pepper %d cannot be found, as that pepper was not given%s",
            number,
            "; the line '0 ' and 64 zeros in the pepper file makes them readable" if number == 0 else "",
        )
    wanted = {PEPPER_PREFIX + str(number): value for number, value in fingerprints.items()}
    wanted["version"] = str(VERSION).encode()
    return {name: value for name, value in wanted.items() if name not in meta}


def peppers(meta: Mapping[str, bytes]) -> dict[int, bytes]:
    """The recorded peppers' fingerprints by their number."""
    return {
        int(name.removeprefix(PEPPER_PREFIX)): value
        for name, value in meta.items()
        if name.startswith(PEPPER_PREFIX)
    }
