"""Gets image archives into the nodes, also into those that start later."""

import os
import shutil
import time
from pathlib import Path

from devcluster.local import namespaces
from devcluster.local.commands import run
from devcluster.local.spec import Files, node_names

SOCKET = Path("/run/containerd/containerd.sock")
CTR = "/usr/bin/ctr"


def import_command(archive: Path) -> list[str]:
    """The command that imports the archive where Kubernetes looks for images, run within a node."""
    return [CTR, "--address", str(SOCKET), "--namespace", "k8s.io", "images", "import", str(archive)]


def wait_for_containerd(timeout: float = 30) -> None:
    """Wait, within a node, until its containerd answers."""
    deadline = time.monotonic() + timeout
    while not SOCKET.exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"containerd did not start within {timeout:.0f} s: see its log")
        time.sleep(0.01)


def add(files: Files, archive: Path, nodes: int) -> None:
    """Keep the archive for nodes to come and import it into those that run."""
    kept = keep(files, archive)
    for name in node_names(nodes):
        pid = namespaces.node(files, name)
        if pid is not None:
            run(*_enter(pid), *import_command(kept))


def keep(files: Files, archive: Path) -> Path:
    """Keep the archive for nodes that start from now on; returns where."""
    files.images.mkdir(parents=True, exist_ok=True)
    kept = files.images / f"{archive.stem}.tar"
    if not (kept.exists() and kept.samefile(archive)):
        _link(archive, kept)
    return kept


def _enter(pid: int) -> list[str]:
    return ["nsenter", "--target", str(pid), "--mount", "--net", "--pid"]


def _link(source: Path, target: Path) -> None:
    """A hard link where the file system can, else a copy; complete or not there."""
    temporary = target.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)
