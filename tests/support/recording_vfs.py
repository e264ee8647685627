"""Records what SQLite asks of the operating system, in order, while the real "unix" VFS does it.

For as long as `recording` lasts, the default VFS of this process' SQLite (the library that `_sqlite3` is
linked with) is a copy of the "unix" one in which the calls that change a disk are noted down. All else,
reads, locks and shared memory among it, goes to the original functions (https://www.sqlite.org/vfs.html).
"""

import _sqlite3
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

Pointer = ctypes.c_void_p
OK, IOERR = 0, 10


@dataclass(frozen=True, slots=True)
class Create:
    """A file came to be under a name that was not there."""

    name: str


@dataclass(frozen=True, slots=True)
class Remove:
    name: str


@dataclass(frozen=True, slots=True)
class Write:
    name: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """All that was done to a file before is on disk."""

    name: str


@dataclass(frozen=True, slots=True)
class SyncDirectory:
    """The directory's names are on disk: just these."""

    names: frozenset[str]


Event = Create | Remove | Write | Truncate | Sync | SyncDirectory


@dataclass
class Recorder:
    """What happened in `directory`, in order; a test may append marks of its own."""

    directory: Path
    events: list[object] = field(default_factory=list)
    shared_memory_calls: int = 0
    failures: list[BaseException] = field(default_factory=list)

    def sync_directory(self) -> None:
        self.events.append(SyncDirectory(frozenset(path.name for path in self.directory.iterdir())))


Fields = list[tuple[str, "type[ctypes._SimpleCData[Any]]"]]


def _pointers(names: str) -> Fields:
    """The fields of a table of functions, in its order."""
    return [(f"x{name}", Pointer) for name in names.split()]


class Methods(ctypes.Structure):
    """`sqlite3_io_methods`: what can be done with an open file."""

    _fields_: ClassVar[Fields] = [
        ("iVersion", ctypes.c_int),
        *_pointers(
            "Close Read Write Truncate Sync FileSize Lock Unlock CheckReservedLock FileControl SectorSize "
            "DeviceCharacteristics ShmMap ShmLock ShmBarrier ShmUnmap Fetch Unfetch"
        ),
    ]


class File(ctypes.Structure):
    """`sqlite3_file`, of which the VFS keeps more than this behind."""

    _fields_ = [("pMethods", ctypes.POINTER(Methods))]


class Vfs(ctypes.Structure):
    """`sqlite3_vfs`."""

    _fields_: ClassVar[Fields] = [
        ("iVersion", ctypes.c_int),
        ("szOsFile", ctypes.c_int),
        ("mxPathname", ctypes.c_int),
        ("pNext", Pointer),
        ("zName", ctypes.c_char_p),
        ("pAppData", Pointer),
        *_pointers(
            "Open Delete Access FullPathname DlOpen DlError DlSym DlClose Randomness Sleep CurrentTime "
            "GetLastError CurrentTimeInt64 SetSystemCall GetSystemCall NextSystemCall"
        ),
    ]


Number, Long = ctypes.c_int, ctypes.c_int64
OPEN = ctypes.CFUNCTYPE(Number, Pointer, Pointer, Pointer, Number, Pointer)
DELETE = ctypes.CFUNCTYPE(Number, Pointer, ctypes.c_char_p, Number)
WRITE = ctypes.CFUNCTYPE(Number, Pointer, Pointer, Number, Long)
TRUNCATE = ctypes.CFUNCTYPE(Number, Pointer, Long)
SYNC = ctypes.CFUNCTYPE(Number, Pointer, Number)
MAP = ctypes.CFUNCTYPE(Number, Pointer, Number, Number, Number, Pointer)
SET_SYSTEM_CALL = ctypes.CFUNCTYPE(Number, Pointer, ctypes.c_char_p, Pointer)
GET_SYSTEM_CALL = ctypes.CFUNCTYPE(Pointer, Pointer, ctypes.c_char_p)
OPEN_DIRECTORY = ctypes.CFUNCTYPE(Number, ctypes.c_char_p, Pointer)


@contextmanager
def recording(directory: Path) -> Iterator[Recorder]:
    """Record all that this process' SQLite, and `os.fsync` of the directory, change in `directory`.

    An error inside the recorder is raised at the end: what was recorded would be wrong.
    """
    recorder = Recorder(directory)
    # dlsym searches also what the extension is linked with: so this is the very SQLite that it uses.
    library = ctypes.CDLL(_sqlite3.__file__)
    library.sqlite3_vfs_find.restype = ctypes.POINTER(Vfs)
    unix = library.sqlite3_vfs_find(b"unix")
    wrapper = _Wrapper(recorder, unix)
    fsync = os.fsync

    def fsync_and_note(descriptor: int) -> None:
        fsync(descriptor)
        if os.path.samestat(os.fstat(descriptor), directory.stat()):
            recorder.sync_directory()

    library.sqlite3_vfs_register(ctypes.byref(wrapper.vfs), 1)
    try:
        with mock.patch.object(os, "fsync", fsync_and_note):
            yield recorder
    finally:
        library.sqlite3_vfs_register(unix, 1)
        library.sqlite3_vfs_unregister(ctypes.byref(wrapper.vfs))
        wrapper.restore()
        if recorder.failures:
            raise recorder.failures[0]


class _Wrapper:
    """The VFS. It must live as long as SQLite may call it."""

    def __init__(self, recorder: Recorder, unix: Any) -> None:
        self._recorder = recorder
        self._unix = unix
        self._names: dict[int, str] = {}
        self._methods: list[Methods] = []
        self._callbacks: list[object] = []
        self._syncs_directory = threading.local()
        self.vfs = Vfs()
        ctypes.memmove(ctypes.byref(self.vfs), unix, ctypes.sizeof(Vfs))
        self.vfs.zName = b"recording"
        self._open = OPEN(self.vfs.xOpen)
        self._delete = DELETE(self.vfs.xDelete)
        self.vfs.xOpen = self._keep(OPEN, self._on_open)
        self.vfs.xDelete = self._keep(DELETE, self._on_delete)
        # The VFS does not tell when it syncs a directory, but it opens each through this.
        name = b"openDirectory"
        self._open_directory = OPEN_DIRECTORY(GET_SYSTEM_CALL(self.vfs.xGetSystemCall)(unix, name))
        self._set_system_call = SET_SYSTEM_CALL(self.vfs.xSetSystemCall)
        self._set_system_call(unix, name, self._keep(OPEN_DIRECTORY, self._on_open_directory))

    def restore(self) -> None:
        """Give the "unix" VFS its own function back."""
        self._set_system_call(self._unix, b"openDirectory", None)

    def _keep(self, kind: Any, function: Callable[..., int]) -> Any:
        """A C function that notes an error of ours and hands SQLite one in its place."""

        def guarded(*arguments: Any) -> int:
            try:
                return function(*arguments)
            except BaseException as error:  # noqa: BLE001 (raised when the recording ends)
                self._recorder.failures.append(error)
                return IOERR

        callback = kind(guarded)
        self._callbacks.append(callback)
        return ctypes.cast(callback, Pointer)

    def _on_open(self, _: int, name: int | None, file: int, flags: int, out: int | None) -> int:
        path = Path(os.fsdecode(ctypes.string_at(name))) if name else None
        ours = path is not None and path.parent == self._recorder.directory
        new = ours and path is not None and not path.exists()
        code: int = self._open(ctypes.cast(self._unix, Pointer), name, file, flags, out)
        if code == OK and ours and path is not None:
            if new:
                self._recorder.events.append(Create(path.name))
            self._names[file] = path.name
            self._wrap(ctypes.cast(file, ctypes.POINTER(File)).contents)
        return code

    def _wrap(self, file: File) -> None:
        methods = Methods()
        ctypes.memmove(ctypes.byref(methods), file.pMethods, ctypes.sizeof(Methods))
        write, truncate, sync = WRITE(methods.xWrite), TRUNCATE(methods.xTruncate), SYNC(methods.xSync)
        # Journals and logs have no shared memory of their own.
        share = MAP(methods.xShmMap) if methods.xShmMap else None
        events = self._recorder.events

        def on_write(handle: int, data: int, size: int, offset: int) -> int:
            code: int = write(handle, data, size, offset)
            if code == OK:
                events.append(Write(self._names[handle], offset, ctypes.string_at(data, size)))
            return code

        def on_truncate(handle: int, size: int) -> int:
            code: int = truncate(handle, size)
            if code == OK:
                events.append(Truncate(self._names[handle], size))
            return code

        def on_sync(handle: int, flags: int) -> int:
            return self._note_directory(lambda: sync(handle, flags), Sync(self._names[handle]))

        def on_share(*arguments: Any) -> int:
            self._recorder.shared_memory_calls += 1
            code: int = share(*arguments) if share else IOERR
            return code

        methods.xWrite = self._keep(WRITE, on_write)
        methods.xTruncate = self._keep(TRUNCATE, on_truncate)
        methods.xSync = self._keep(SYNC, on_sync)
        if share:
            methods.xShmMap = self._keep(MAP, on_share)
        self._methods.append(methods)
        file.pMethods = ctypes.pointer(methods)

    def _on_delete(self, _: int, name: bytes, sync_directory: int) -> int:
        path = Path(os.fsdecode(name))
        vfs = ctypes.cast(self._unix, Pointer)
        if path.parent != self._recorder.directory or not path.exists():
            code: int = self._delete(vfs, name, sync_directory)
            return code
        return self._note_directory(lambda: self._delete(vfs, name, sync_directory), Remove(path.name))

    def _note_directory(self, call: Callable[[], int], event: Event) -> int:
        """Do the call, and record it and the directory's sync, where there was one, after it."""
        self._syncs_directory.seen = False
        code = call()
        if code == OK:
            self._recorder.events.append(event)
            if self._syncs_directory.seen:
                self._recorder.sync_directory()
        return code

    def _on_open_directory(self, name: bytes, out: int) -> int:
        self._syncs_directory.seen = True
        code: int = self._open_directory(name, out)
        return code
