"""New peppers while the process runs: the pepper file is looked at beside the requests."""

import asyncio
import logging

from . import files
from .crypto import Pepper
from .store import StoreStartError, StoreUnavailableError
from .store.batching import ClosingError
from .vault import Vault

log = logging.getLogger(__name__)


async def follow(vault: Vault, followed: files.Followed[tuple[Pepper, ...]]) -> None:
    """Have the vault use what the pepper file says, for as long as the process serves."""
    peppers: tuple[Pepper, ...] | None = None
    while True:
        await asyncio.sleep(files.SECONDS_BETWEEN_LOOKS)
        peppers = followed.changed() or peppers
        if peppers is None:
            continue
        try:
            await vault.use(peppers)
        except (StoreUnavailableError, ClosingError):
            # The store said so in its log; the database must record a pepper before it is used.
            continue
        except StoreStartError as error:
            log.error("the changed pepper file is not used, the former peppers stay: %s", error)
        else:
            log.info("the pepper file changed: values are written under pepper %d", peppers[0].number)
        peppers = None
