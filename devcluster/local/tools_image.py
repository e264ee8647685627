"""An image with a shell: it holds the pods' namespaces open and runs the provisioner's scripts.

Made from Debian's busybox-static, because no image registry is asked for anything.
"""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from devcluster import cache
from devcluster.console import step
from devcluster.errors import ClusterError
from devcluster.local.configuration import TOOLS_IMAGE
from devcluster.local.programs import architecture

APPLETS_OF = "busybox-static"


def ensure() -> Path:
    """The image as a docker-archive file, made if it is not in the cache."""
    target = cache.folder("images") / f"tools-1-{architecture()}.tar"
    if not target.exists():
        with cache.lock("tools-image"), step("Make the tools image"):
            _make(target)
    return target


def _make(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        busybox = _busybox(folder)
        listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
        archive = folder / "image.tar"
        write(archive, busybox.read_bytes(), listed.stdout.split())
        archive.rename(target)


def _busybox(folder: Path) -> Path:
    """Debian's static busybox, unpacked without being installed: the host may have another one."""
    if shutil.which("apt-get") is None:
        if found := shutil.which("busybox"):
            return Path(found)
        raise ClusterError("install a statically linked busybox and start again")
    download = ["apt-get", "-q", "download", APPLETS_OF]
    # The unprivileged user that apt downloads as by default may not enter the cache folder.
    options = ["-o", "APT::Sandbox::User=root"]
    if subprocess.run([*download, *options], cwd=folder, capture_output=True, check=False).returncode:
        subprocess.run(["apt-get", "-q", "update"], capture_output=True, check=False)
        done = subprocess.run([*download, *options], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"apt-get could not download {APPLETS_OF}: {done.stderr.strip()}")
    package = next(folder.glob("*.deb"))
    subprocess.run(["dpkg-deb", "--extract", package, folder / "unpacked"], check=True)
    return next((folder / "unpacked").rglob("bin/busybox"))


def write_as(target: Path, tag: str) -> None:
    """Write the same image under another name, for tests of loading."""
    with tarfile.open(ensure()) as made, tarfile.open(target, "w") as tar:
        for member in made.getmembers():
            content = made.extractfile(member)
            if content is not None and member.name != "manifest.json":
                tar.addfile(member, content)
        manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def write(target: Path, busybox: bytes, applets: list[str]) -> None:
    """Write the docker-archive: one layer with busybox, a link for each applet, and a /tmp."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
        _add(tar, "bin/busybox", busybox, 0o755)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
    content = layer.getvalue()
    configuration = {
        "architecture": architecture(),
        "os": "linux",
        # As a pod's first container it has nothing to do but to be there.
        "config": {"Cmd": ["/bin/sleep", "2147483647"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [TOOLS_IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as tar:
        _add(tar, "layer.tar", content)
        _add(tar, "config.json", json.dumps(configuration).encode())
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))
