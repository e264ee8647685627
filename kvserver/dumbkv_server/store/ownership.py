"""One process owns a SQLite file: a lock beside it, held as long as the process lives.

The lock is a file of its own, because closing the database file a second time inside one process would drop
SQLite's own POSIX locks. The kernel lets go of it however the process ends, also after kill -9, and over NFS
once the server gives up on a client that is gone. Such a client may come back and not know that it lost the
lock: so the file says whose it is, and the owner looks whether it still is.
"""

import fcntl
import os
import re
import secrets
import socket
from pathlib import Path

from . import StoreStartError

# Who may write to the volume may write anything there, and it would go to all who ask for health.
OWNER = re.compile(rb"(process [0-9]{1,10} on [A-Za-z0-9._-]{1,253})\n[0-9a-f]{16}\n")
MOST_BYTES = 400


class OwnedError(StoreStartError):
    """Another process has the database. `owner` is that one: `process 7 on HOST`."""

    def __init__(self, database: Path, owner: str) -> None:
        super().__init__(
            f"the database {database} is in use by {owner}; stop that one first, "
            "or give this one a DATABASE_LOCATION of its own"
        )
        self.owner = owner


class Ownership:
    """Holds `<database>.lock` from creation to `release`; OwnedError where another process does."""

    def __init__(self, database: Path, *, local: bool) -> None:
        self._watched: dict[Path, tuple[int, int] | None] = {}
        self._seen: tuple[int, int, int] | None = None
        self._local = local
        self._database = database
        self._path = path = database.with_name(database.name + ".lock")
        # Containers have the same few process ids, and a restarted one its former host name.
        self._content = f"process {os.getpid()} on {socket.gethostname()}\n{secrets.token_hex(8)}\n".encode()
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreStartError(f"cannot create {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = OWNER.fullmatch(os.pread(self._descriptor, MOST_BYTES, 0))
            os.close(self._descriptor)
            if not isinstance(error, BlockingIOError):
                raise StoreStartError(f"cannot lock {path}: {error.strerror}") from error
            raise OwnedError(database, owner[1].decode() if owner else "another process") from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, self._content, 0)
        os.fsync(self._descriptor)

    def holds(self) -> bool:
        """Whether no other process has the database; OSError where that cannot be seen. See also `lost`."""
        if self._local:
            return os.pread(self._descriptor, MOST_BYTES, 0) == self._content
        # A network file system asks its server when a file is opened.
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            return os.pread(descriptor, MOST_BYTES, 0) == self._content
        finally:
            os.close(descriptor)

    def watch(self) -> None:
        """Remember which files are the lock, the database and its write-ahead log; all are there by now."""
        database = self._database
        for path in (database.with_name(f"{database.name}{end}") for end in ("", "-wal", ".lock")):
            self._watched[path] = _identity(path)
        self._seen = _state(database.parent)

    def lost(self) -> Path | None:
        """The first of these files that was deleted or replaced since, or None."""
        seen = _state(self._database.parent)
        if seen is not None and seen == self._seen:
            return None
        self._seen = seen
        return next((path for path, identity in self._watched.items() if _identity(path) != identity), None)

    def release(self) -> None:
        """Let another process have the database. The lock file stays: removing it would be a race."""
        os.close(self._descriptor)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _state(directory: Path) -> tuple[int, int, int] | None:
    """What changes with the names in a directory and with the files behind them; None without it."""
    try:
        status = os.stat(directory)  # noqa: PTH116 (half the time of Path.stat, with each commit)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


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
