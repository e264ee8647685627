"""Log lines with their time in UTC, so that those of many nodes can be read side by side."""

import logging
import time


class UTCFormatter(logging.Formatter):
    """The standard formatter with UTC for local time."""

    @staticmethod
    def converter(seconds: float | None) -> time.struct_time:
        """The time of a record in UTC."""
        return time.gmtime(seconds)
