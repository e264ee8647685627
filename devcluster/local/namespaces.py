"""The namespaces that a cluster and each of its nodes live in, and how to find them from the host.

A cluster is one `unshare` process in the host's namespaces and what it holds. Its command line names the
cluster's folder, so it is found by looking, not by a pid file that could be stale.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from devcluster.local.spec import Files

SUPERVISOR = "devcluster.local.supervisor"
NODE = "devcluster.local.node"
# `--kill-child`: the kernel kills process 1 of the namespace as soon as `unshare` itself ends, in any way.
_UNSHARE = ("--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs this module as process 1 of new namespaces."""
    return [unshare_program(), *_UNSHARE, sys.executable, "-m", module, *arguments]


def unshare_program() -> str:
    """The path of `unshare` (util-linux: on every Linux machine)."""
    return "/usr/bin/unshare"


def environment() -> dict[str, str]:
    """The environment in which the modules of this package are found."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def start(files: Files) -> int:
    """Start the cluster's outer process; returns its pid."""
    log = files.log("supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        # A session of its own: Ctrl-C in the terminal, or the terminal's end, is not for the cluster.
        process = subprocess.Popen(
            command(SUPERVISOR, str(files.folder)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(),
            cwd="/",
            start_new_session=True,
        )
    # While the kernel still loads the program it has no arguments: it would be taken for one that has ended.
    while not command_line(process.pid) and process.poll() is None:
        time.sleep(0.001)
    # It outlives this process on purpose; nobody waits for it.
    process.returncode = 0
    return process.pid


def outer(files: Files) -> int | None:
    """The pid of the cluster's outer process, None where it does not run."""
    wanted = command(SUPERVISOR, str(files.folder))[-3:]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            arguments = command_line(int(entry.name))
            if arguments[:1] == [unshare_program()] and arguments[-3:] == wanted:
                return int(entry.name)
    return None


def supervisor(files: Files) -> int | None:
    """The host's pid of process 1 of the cluster, None where it does not run."""
    pid = outer(files)
    return next(iter(children(pid)), None) if pid is not None else None


def node_outer(files: Files, name: str) -> int | None:
    """The host's pid of the `unshare` process of a node, None where the node does not run."""
    parent = supervisor(files)
    for pid in children(parent) if parent is not None else []:
        arguments = command_line(pid)
        if arguments[:1] == [unshare_program()] and arguments[-1:] == [name]:
            return pid
    return None


def node(files: Files, name: str) -> int | None:
    """The host's pid of process 1 of a node, None where the node does not run."""
    pid = node_outer(files, name)
    return next(iter(children(pid)), None) if pid is not None else None


def children(pid: int) -> list[int]:
    """The children of a process, none where it is gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def command_line(pid: int) -> list[str]:
    """The arguments of a process, none where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []
