"""Ends a cluster and waits until nothing of it is left: the same whether it runs, half runs or has died."""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from devcluster.errors import ClusterError
from devcluster.local import cgroups, namespaces
from devcluster.local.spec import Files

SECONDS = 20


def end(files: Files) -> None:
    """Kill the outer process, wait for the kernel to take all away, and remove the cluster's files."""
    outer = namespaces.outer(files)
    if outer is not None:
        inner = namespaces.supervisor(files)
        os.kill(outer, signal.SIGKILL)
        # Where this very process started the cluster, the dead one stays a zombie until it is waited for.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(outer, 0)
        # Process 1 of a pid namespace is gone only when every other process in it is.
        for pid in (outer, inner):
            if pid is not None:
                _until_gone(Path(f"/proc/{pid}"))
    spec = files.load()
    if spec is not None and spec.block >= 0:
        _until_gone(Path("/sys/class/net", spec.addresses.interface))
    _remove_cgroups(files.name)
    if files.folder.exists():
        shutil.rmtree(files.folder)


def _until_gone(path: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while path.exists():
        if time.monotonic() > deadline:
            raise ClusterError(f"{path} is still there {SECONDS} s after the cluster was killed")
        time.sleep(0.02)


def _remove_cgroups(name: str) -> None:
    """The kernel says that a cgroup is busy for some milliseconds after its last process has gone."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            cgroups.remove(name)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
