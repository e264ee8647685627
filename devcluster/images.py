"""Builds the project's images, and those of the test cluster, into archives that a cluster can load."""

import argparse
import hashlib
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster import cache, image_builders
from devcluster.console import console, step
from devcluster.errors import ClusterError

REPOSITORY = Path(__file__).parents[1]
WORKSPACE = ("pyproject.toml", "uv.lock", "kvserver/pyproject.toml", "operator/pyproject.toml")
POSTGRES = "tests/e2e/images/postgres"


@dataclass(frozen=True)
class Image:
    """An image: its name, and from what in the repository it is made."""

    tag: str
    dockerfile: str
    sources: tuple[str, ...]


IMAGES = {
    "server": Image(
        "ghcr.io/dumbkv/dumbkv-server:0.1.0",
        "Dockerfile.server",
        (*WORKSPACE, "kvserver/dumbkv_server", "kvserver/main.py", "kvserver/logging.yaml"),
    ),
    "operator": Image(
        "ghcr.io/dumbkv/dumbkv-operator:0.1.0",
        "Dockerfile.operator",
        (*WORKSPACE, "operator/dumbkv_operator"),
    ),
    "postgres": Image(
        "dumbkv.example.com/devcluster/postgres:15", f"{POSTGRES}/Dockerfile", (f"{POSTGRES}/entrypoint.sh",)
    ),
}


def build(*names: str) -> dict[str, Path]:
    """Build those of the images whose inputs changed; returns each one's docker-archive file by its name.

    Names: `server`, `operator`, `postgres`. A file's name changes with its content's inputs, and it is there
    as a whole or not at all. Raises ClusterError where a build fails, with its log.
    """
    if unknown := set(names) - IMAGES.keys():
        raise ClusterError(f"no such image: {', '.join(sorted(unknown))}; there are {', '.join(IMAGES)}")
    with cache.lock("images"):
        _sweep()
        builder = image_builders.choose()
        arguments = builder.prepare(official_base(REPOSITORY / IMAGES["server"].dockerfile))
        return {name: _build(builder, name, IMAGES[name], arguments) for name in names}


def _sweep() -> None:
    """Remove what builds left that were killed; the lock is held, so none of it is in use."""
    folder = cache.folder("images")
    for path in [
        *folder.glob("tmp-*"),
        *folder.glob("buildah/run-*"),
        *folder.glob("buildah/tmp/buildah[0-9]*"),
    ]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def official_base(dockerfile: Path) -> str:
    """The image that the Dockerfile stands on where nothing else is said."""
    found = re.search(r"^ARG BASE_IMAGE=(\S+)", dockerfile.read_text(), re.MULTILINE)
    if found is None:
        raise ClusterError(f"{dockerfile} has no `ARG BASE_IMAGE=` with a default")
    return found.group(1)


def fingerprint(image: Image, arguments: Mapping[str, str], repository: Path = REPOSITORY) -> str:
    """12 hex digits that change with whatever the image is made from."""
    digest = hashlib.sha256(repr((image.tag, sorted(arguments.items()))).encode())
    for path in _files(image, repository):
        executable = bool(path.stat().st_mode & 0o100)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(repository)} {executable} {content}\n".encode())
    return digest.hexdigest()[:12]


def _files(image: Image, repository: Path) -> Iterator[Path]:
    for name in (image.dockerfile, ".dockerignore", *image.sources):
        path = repository / name
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.is_file() and each.suffix != ".pyc")
        elif path.exists():
            yield path
        else:
            raise ClusterError(f"{path} is missing: the image {image.tag} is made from it")


def _build(builder: image_builders.Builder, name: str, image: Image, arguments: Mapping[str, str]) -> Path:
    folder = cache.folder("images")
    target = folder / f"{name}-{fingerprint(image, arguments)}.tar"
    if target.exists():
        return target
    temporary = folder / f"tmp-{name}.tar"
    temporary.unlink(missing_ok=True)
    with step(f"Build the {name} image"):
        builder.build(image.dockerfile, REPOSITORY, image.tag, arguments, temporary)
    older = list(folder.glob(f"{name}-*.tar"))
    temporary.rename(target)
    for path in older:
        path.unlink()
    return target


def main() -> int:
    """Build the named images (all of the project's own without a name) and print their archives' paths."""
    parser = argparse.ArgumentParser(prog="python -m devcluster.images", description=main.__doc__)
    parser.add_argument("name", nargs="*", default=["server", "operator"], help=", ".join(IMAGES))
    try:
        for path in build(*parser.parse_args().name).values():
            print(path)
    except ClusterError as error:
        console.print(f"{error}\n{error.tail}", style="red", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
