"""What uvicorn serves; Dockerfile.server has the command, whose `--http` bounds what connections may cost."""

import signal
import sys

from dumbkv_server.app import create
from dumbkv_server.settings import SettingsError, load

# uvicorn raises the SIGTERM that stopped it once more when all is done, for whoever had it before: a stop
# that was asked for is a success.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

try:
    api = create(load())
except SettingsError as error:
    sys.exit(f"dumbkv: {error}")
