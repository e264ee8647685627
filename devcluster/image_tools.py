"""Runs the programs that make images, so that none of them leaves a process or a mount behind."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from devcluster import cache
from devcluster.errors import ClusterError

# The program and all that it starts live in process and mount namespaces of their own. These end with the
# first process in them, and that one ends with us, however we end.
NAMESPACES = (
    "setpriv", "--pdeathsig", "KILL",
    "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
)  # fmt: skip


def log() -> Path:
    """Where the output of all image builds is."""
    return cache.folder("logs") / "images.log"


def isolated(*command: str, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> None:
    """Run the command as root in namespaces of its own; raises ClusterError where it fails."""
    if os.geteuid() != 0:
        raise ClusterError("without a Docker daemon only root can build images: start Docker, or run as root")
    logged(*NAMESPACES, *command, environment=environment, folder=folder, shown=command)


def logged(
    *command: str,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    shown: tuple[str, ...] = (),
) -> None:
    """Run the command with its output in the log; raises ClusterError where it fails."""
    program, *arguments = shown or command
    with log().open("a") as output:
        print(f"$ {program} {' '.join(arguments)}", file=output, flush=True)
        status = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        ).returncode
    if status:
        raise ClusterError(f"{program} failed with exit status {status}; its output is in {log()}", log())
