"""One process owns a SQLite file: a lock beside it, held as long as the process lives.

The lock is a file of its own, because closing the database file a second time inside one process would drop
SQLite's own POSIX locks. The kernel lets go of it however the process ends, also after kill -9, and over NFS
once the server gives up on a client that is gone.
"""

import fcntl
import os
import socket
from pathlib import Path

from . import StoreStartError


class Ownership:
    """Holds `<database>.lock` from creation to `release`."""

    def __init__(self, database: Path) -> None:
        self._watched: dict[Path, tuple[int, int] | None] = {}
        self._database = database
        path = database.with_name(database.name + ".lock")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreStartError(f"cannot create {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._descriptor, 200, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(self._descriptor)
            if not isinstance(error, BlockingIOError):
                raise StoreStartError(f"cannot lock {path}: {error.strerror}") from error
            raise StoreStartError(
                f"the database {database} is in use by {owner}; stop that one first, "
                "or give this one a DATABASE_LOCATION of its own"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def watch(self) -> None:
        """Remember which files are the lock, the database and its write-ahead log; all are there by now."""
        database = self._database
        for path in (database.with_name(f"{database.name}{end}") for end in ("", "-wal", ".lock")):
            self._watched[path] = _identity(path)

    def lost(self) -> Path | None:
        """The first of these files that was deleted or replaced since, or None."""
        return next((path for path, identity in self._watched.items() if _identity(path) != identity), None)

    def release(self) -> None:
        """Let another process have the database. The lock file stays: removing it would be a race."""
        os.close(self._descriptor)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 (half the time of Path.stat, with each commit)
    except OSError:
        return None
    return status.st_dev, status.st_ino


# File systems of one machine, where processes can share memory, which WAL's index needs.
LOCAL_FILE_SYSTEMS = {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs"} | {
    "reiserfs", "tmpfs", "xfs", "zfs"
}  # fmt: skip


def is_local(directory: Path, mounts: str | None = None) -> bool:
    """Whether the directory is on a file system of this machine; anything unknown counts as remote.

    `mounts` is the text of /proc/self/mountinfo (proc(5)), which is read when it is not given.
    """
    try:
        text = Path("/proc/self/mountinfo").read_text() if mounts is None else mounts
    except OSError:
        return False
    best, kind = Path("/"), ""
    for line in text.splitlines():
        fields = line.split()
        point = Path(fields[4].encode().decode("unicode_escape"))
        if directory.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, fields[fields.index("-") + 1]
    return kind in LOCAL_FILE_SYSTEMS
