"""What can go wrong, said so that the reader knows what to do."""

from pathlib import Path

TAIL_LINES = 15


class ClusterError(Exception):
    """A step failed. The message says what happened and what to do; `log` is where to read more."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log

    def tail(self) -> str:
        """The last lines of the log, empty where there is none."""
        if self.log is None or not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
