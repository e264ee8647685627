"""What uvicorn serves; Dockerfile.server has the command, whose `--http` bounds what connections may cost."""

import signal
import sys

from dumbkv_server.app import create
from dumbkv_server.lifecycle import forbid_core_dumps
from dumbkv_server.settings import SettingsError, load

forbid_core_dumps()
try:
    api = create(load())
except SettingsError as error:
    sys.exit(f"dumbkv: {error}")


def leave(*_: object) -> None:
    """End with success where the stop was asked for, else with the reason as the last line."""
    failure = api.state.lifecycle.failure
    sys.exit(failure and f"dumbkv: {failure}")


# uvicorn raises the SIGTERM that stopped it once more when all is done, for whoever had it before.
signal.signal(signal.SIGTERM, leave)
