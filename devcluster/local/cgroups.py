"""The cgroup folders of the nodes: made before the kubelet starts, taken away when the cluster is gone."""

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def path(cluster: str, node: str = "") -> str:
    """The cgroup of a cluster or of one of its nodes, as the kubelet's `cgroupRoot` wants it."""
    return f"/dumbkv-{cluster}/{node}".rstrip("/")


def make(cluster: str, node: str) -> None:
    """Make the node's cgroup in every hierarchy that there is, ready to have children."""
    for hierarchy in _hierarchies():
        folder = hierarchy / path(cluster, node).lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        for level in (folder.parent, folder):
            _inherit_cpuset(level)
        if hierarchy == ROOT:
            _delegate(hierarchy, folder.parent, folder)


def remove(cluster: str) -> None:
    """Remove the empty folders of a cluster that has ended."""
    for hierarchy in _hierarchies():
        top = hierarchy / path(cluster).lstrip("/")
        if top.exists():
            for folder in sorted((entry for entry in top.rglob("*") if entry.is_dir()), reverse=True):
                folder.rmdir()
            top.rmdir()


def _hierarchies() -> list[Path]:
    """Every mounted hierarchy: one with cgroup v2, one for each controller with v1."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [entry for entry in ROOT.iterdir() if entry.is_dir() and (entry / "cgroup.procs").exists()]


def _inherit_cpuset(folder: Path) -> None:
    """A v1 cpuset starts empty, and nothing can run in an empty one."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        own, parent = folder / name, folder.parent / name
        if own.exists() and parent.exists() and not own.read_text().strip():
            own.write_text(parent.read_text())


def _delegate(*folders: Path) -> None:
    """With v2, a folder's children have only the controllers that it passes on."""
    for folder in folders:
        for controller in (folder / "cgroup.controllers").read_text().split():
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")
