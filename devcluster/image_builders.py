"""What turns a Dockerfile into an archive: a Docker daemon where one answers, else buildah."""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from devcluster import base_image, cache
from devcluster.console import note
from devcluster.errors import ClusterError
from devcluster.image_tools import isolated, logged
from devcluster.local import packages

# Left unset, a Dockerfile's own BASE_IMAGE is used.
BASE_NAME = "localhost/dumbkv-base"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Some twenty make up all images: this many take about 4 GB.
MOST_LAYERS = 150


class Builder(Protocol):
    """Builds one image at a time."""

    def prepare(self, official_base: str) -> dict[str, str]:
        """The build arguments that this machine needs; makes the base image where it is needed."""

    def build(
        self, dockerfile: str, context: Path, tag: str, arguments: Mapping[str, str], target: Path
    ) -> None:
        """Build the image and write it to `target` as a docker-archive; raises ClusterError."""


def choose() -> Builder:
    """Docker where a daemon answers, else buildah."""
    return Docker() if docker_answers() else Buildah()


def docker_answers() -> bool:
    """Whether a Docker daemon is there and lets this user in."""
    if shutil.which("docker") is None:
        return False
    try:
        return (
            subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20).returncode == 0
        )
    except subprocess.TimeoutExpired:
        return False


class Docker:
    """A Docker daemon."""

    def prepare(self, official_base: str) -> dict[str, str]:
        """No arguments where the official base image can be had, else those of a base of ours."""
        if _succeeds("docker", "image", "inspect", official_base):
            return {}
        try:
            logged("docker", "pull", official_base)
        except ClusterError:
            note(f"{official_base} cannot be pulled: making a base image instead")
            archive = base_image.archive()
            name = _name(archive)
            if not _succeeds("docker", "image", "inspect", name):
                logged("docker", "import", str(archive), name)
            return _arguments(name)
        return {}

    def build(
        self, dockerfile: str, context: Path, tag: str, arguments: Mapping[str, str], target: Path
    ) -> None:
        """See Builder."""
        options = ["--file", dockerfile, "--tag", tag, *_flags(arguments)]
        # The daemon's own builder keeps the image in the daemon, from where it is saved.
        logged(
            "docker", "build", *options, ".",
            folder=context,
            environment={"BUILDX_BUILDER": "default", "DOCKER_BUILDKIT": "1"},
        )  # fmt: skip
        logged("docker", "save", "--output", str(target), tag)


class Buildah:
    """Debian's buildah, with storage of its own in the cache and without a daemon."""

    def __init__(self) -> None:
        self._folder = cache.folder("images", "buildah")
        self._driver: str | None = None

    def prepare(self, official_base: str) -> dict[str, str]:
        """The arguments of a base image of ours: no image registry is asked for anything."""
        packages.ensure(packages.IMAGES)
        self._forget_layers()
        archive = base_image.archive()
        name = _name(archive)
        # What an interrupted build left here is of no use to any other.
        self._run("rm", "--all")
        if not self._succeeds("inspect", "--type", "image", name):
            with tempfile.TemporaryDirectory(dir=self._folder) as context:
                dockerfile = Path(context) / "Dockerfile"
                dockerfile.write_text(f"FROM scratch\nADD base.tar /\nENV PATH={PATH}\n")
                (Path(context) / "base.tar").hardlink_to(archive)
                self._run("build", "--tag", name, context)
        return _arguments(name)

    def build(
        self, dockerfile: str, context: Path, tag: str, arguments: Mapping[str, str], target: Path
    ) -> None:
        """See Builder."""
        options = ["--layers", "--format", "docker", "--pull-never", "--file", dockerfile, "--tag", tag]
        self._run("build", *options, *_flags(arguments), ".", folder=context)
        self._run("push", tag, f"docker-archive:{target}:{tag}")

    def _run(self, *command: str, folder: Path | None = None) -> None:
        # What is mounted and running is forgotten with the namespaces: so must be buildah's notes of it.
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="run-") as run:
            storage = [
                "--root",
                str(self._folder / "storage"),
                "--runroot",
                run,
                "--storage-driver",
                self._storage_driver(),
            ]
            # The folder of cache mounts: a download is kept from one build to the next.
            temporary = cache.folder("images", "buildah", "tmp")
            environment = {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(temporary)}
            isolated("buildah", *storage, *command, folder=folder, environment=environment)

    def _forget_layers(self) -> None:
        """Begin the storage anew once builds of former days fill it; what they downloaded is kept."""
        storage = self._folder / "storage"
        layers = [*storage.glob("overlay/*"), *storage.glob("vfs/dir/*")]
        if len(layers) > MOST_LAYERS:
            shutil.rmtree(storage)

    def _succeeds(self, *command: str) -> bool:
        try:
            self._run(*command)
        except ClusterError:
            return False
        return True

    def _storage_driver(self) -> str:
        """overlay, or vfs (slow, but it works anywhere) on file systems that overlay cannot stand on."""
        if self._driver is None:
            self._driver = "overlay"
            if not self._succeeds("images"):
                self._driver = "vfs"
        return self._driver


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _name(archive: Path) -> str:
    return f"{BASE_NAME}:{archive.stem.rpartition('-')[2]}"


def _arguments(base: str) -> dict[str, str]:
    bundle = str(base_image.BUNDLE)
    return {"BASE_IMAGE": base, "PIP_CERT": bundle, "SSL_CERT_FILE": bundle}


def _flags(arguments: Mapping[str, str]) -> list[str]:
    return [f"--build-arg={name}={value}" for name, value in arguments.items()]
