"""Secrets in, secrets out: seals before the store and opens after it. No HTTP and no SQL."""

from dataclasses import dataclass

from .crypto import Keyring, Locator, legacy_row_key, open_legacy
from .store import Address, Found, Row, Store, StoreUnavailableError
from .store.batching import ClosingError, QueueFullError


@dataclass(frozen=True, slots=True)
class Entry:
    """One key's value. `expires_at` is in milliseconds since 1970, or None."""

    value: str
    revision: int
    expires_at: int | None


class Vault:
    """Keys and values in the clear on this side, addresses and blobs on the store's."""

    def __init__(self, keyring: Keyring, store: Store) -> None:
        self._keyring = keyring
        self._store = store

    async def put(self, database: int, key: str, value: str) -> int:
        """Store a value under the newest pepper; its revision, once it is durable."""
        locators, address = self._locate(database, key)
        return await self._store.put(address, locators[0].seal(value.encode()))

    async def delete(self, database: int, key: str) -> bool:
        """Remove a key, wherever it is; whether there was one."""
        _, address = self._locate(database, key)
        return await self._store.delete(address)

    async def get(self, database: int, key: str) -> Entry | None:
        """A key's value, or None. What is found in an old place is moved to the newest.

        Raises CannotOpenError where the stored value is not what was stored.
        """
        locators, address = self._locate(database, key)
        while (found := await self._store.get(address)) is not None:
            value = _open(found, address, locators)
            if isinstance(found, Row) and found.row_id == address.row_ids[0]:
                return Entry(value.decode(), found.revision, found.expires_at)
            revision = await self._rewrite(address, found, locators[0].seal(value))
            if revision is not None:
                return Entry(value.decode(), revision, found.expires_at if isinstance(found, Row) else None)
            # Somebody wrote or deleted this key since it was read: look again.
        return None

    def _locate(self, database: int, key: str) -> tuple[tuple[Locator, ...], Address]:
        locators = self._keyring.locate(database, key)
        row_ids = tuple([locator.row_id for locator in locators])
        return locators, Address(database, row_ids, legacy_row_key(key))

    async def _rewrite(self, address: Address, found: Found, blob: bytes) -> int | None:
        try:
            return await self._store.rewrite(address, found, blob)
        except (QueueFullError, ClosingError, StoreUnavailableError):
            # A row under an old pepper has all that an answer needs; a legacy row lacks its revision.
            if isinstance(found, Row):
                return found.revision
            raise


def _open(found: Found, address: Address, locators: tuple[Locator, ...]) -> bytes:
    if not isinstance(found, Row):
        return open_legacy(address.legacy_key, found.token)
    return locators[address.row_ids.index(found.row_id)].open(found.blob)
