"""What can happen to a node: a sudden end, a cut cable, and its return."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from devcluster.errors import ClusterError
from devcluster.local import namespaces
from devcluster.local.commands import run
from devcluster.local.spec import Files, node_names

SECONDS = 20


def kill(files: Files, name: str) -> None:
    """End the node as a power cut does: all its pods at once, and nobody is told."""
    _check(files, name)
    outer, inner = namespaces.node_outer(files, name), namespaces.node(files, name)
    if outer is None or inner is None:
        raise ClusterError(f"{name} does not run: `node rejoin {name}` starts it")
    os.kill(outer, signal.SIGKILL)
    _until(lambda: not Path(f"/proc/{inner}").exists(), f"{name} did not end")


def isolate(files: Files, name: str) -> None:
    """Cut the node off: its pods go on, and reach nothing but each other."""
    _set_link(files, name, "down")


def rejoin(files: Files, name: str) -> None:
    """Start a killed node again, or mend the cable of an isolated one."""
    supervisor = _check(files, name)
    if namespaces.node(files, name) is None:
        os.kill(supervisor, signal.SIGHUP)
        _until(lambda: namespaces.node(files, name) is not None, f"{name} did not start")
    else:
        _set_link(files, name, "up")


def _set_link(files: Files, name: str, state: str) -> None:
    supervisor = _check(files, name)
    run("nsenter", "--target", str(supervisor), "--net", "ip", "link", "set", name, state)


def _check(files: Files, name: str) -> int:
    """The cluster's process 1; raises ClusterError where there is no such cluster or node."""
    spec, supervisor = files.load(), namespaces.supervisor(files)
    if spec is None or supervisor is None:
        raise ClusterError(
            f"the local cluster {files.name} does not run: `python -m devcluster up` starts it"
        )
    known = node_names(spec.nodes)
    if name not in known:
        raise ClusterError(f"there is no node {name!r}: there is {', '.join(known) or 'none'}")
    return supervisor


def _until(done: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise ClusterError(f"{otherwise} within {SECONDS} s: `python -m devcluster logs` shows why")
        time.sleep(0.02)
