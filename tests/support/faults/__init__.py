"""A disk that fails as it is told, under one process only: a preloaded library (ld.so(8), LD_PRELOAD)."""

import errno
import subprocess
from pathlib import Path

from tests.support.server import Environment

SOURCE = Path(__file__).with_name("faults.c")


class Disk:
    """The disk of the processes that get `environment`. It is whole until `fail`, and after `repair`."""

    def __init__(self, folder: Path) -> None:
        library = folder / "faults.so"
        flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
        subprocess.run(["gcc", *flags, "-o", str(library), str(SOURCE), "-ldl"], check=True, cwd=folder)
        self._control = folder / "faults"
        self.environment: Environment = {"LD_PRELOAD": str(library), "FAULTS": str(self._control)}

    def fail(self, call: str, number: int) -> None:
        """From now on each `call` (read, write or sync) on the database ends with this errno."""
        new = self._control.with_suffix(".new")
        new.write_text(f"{call} {number}\n")
        new.rename(self._control)

    def repair(self) -> None:
        self._control.unlink()


FULL, READ_ONLY, BROKEN = errno.ENOSPC, errno.EROFS, errno.EIO
