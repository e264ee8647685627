"""The operator's log: one line a thing that happened, with its time in UTC, on standard error."""

import logging
import logging.config
import time
from typing import Final, Literal

from pythonjsonlogger.core import RESERVED_ATTRS

LINE: Final = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"
TIME: Final = "%Y-%m-%dT%H:%M:%S"
# What kopf hands along with a message for its own use: settings with a name for each of a hundred options.
KOPF_ATTRIBUTES: Final = ("settings", "k8s_skip")
# What they tell at INFO is each probe that was answered and each event that was put on the queue.
TALKATIVE: Final = ("aiohttp.access", "kopf", "asyncio")


class UTCFormatter(logging.Formatter):
    """The standard formatter with UTC for local time."""

    @staticmethod
    def converter(seconds: float | None) -> time.struct_time:
        """Return the time of a record in UTC."""
        return time.gmtime(seconds)


def configure(level: str, style: Literal["text", "json"]) -> None:
    """Log what is at least as important as `level` (debug, info, warning): lines of text, or of JSON."""
    others = "DEBUG" if level == "debug" else "WARNING"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "text": {"()": UTCFormatter, "format": LINE, "datefmt": TIME},
                "json": {
                    "()": "pythonjsonlogger.json.JsonFormatter",
                    "format": ["levelname", "name", "message"],
                    "rename_fields": {"levelname": "level", "name": "logger"},
                    "timestamp": "time",
                    "reserved_attrs": [*RESERVED_ATTRS, *KOPF_ATTRIBUTES],
                },
            },
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": style}},
            "loggers": {name: {"level": others} for name in TALKATIVE},
            "root": {"level": level.upper(), "handlers": ["console"]},
        }
    )
