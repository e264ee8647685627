"""What can go wrong, said so that the reader knows what to do."""

from pathlib import Path

TAIL_LINES = 15


class ClusterError(Exception):
    """A step failed. The message says what happened and what to do; `log` is where to read more.

    `tail` are the last lines of that log, as they were then: what takes the cluster away may take its logs
    along. A traceback shows them too.
    """

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log
        self.tail = ""
        if log is not None and log.exists():
            self.tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
            self.add_note(f"the end of {log}:\n{self.tail}")
