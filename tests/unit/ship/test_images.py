"""An image is built again where what it is made from changed, and only then."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from devcluster import base_image, images
from devcluster.errors import ClusterError

IMAGE = images.Image("example.com/image:1", "Dockerfile", ("code", "lock"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    for name in ("Dockerfile", ".dockerignore", "lock", "code/main.py", "elsewhere"):
        (tmp_path / name).write_text(name)
    return tmp_path


def fingerprint(repository: Path, image: images.Image = IMAGE, **arguments: str) -> str:
    return images.fingerprint(image, arguments, repository)


def test_the_same_inputs_give_the_same_name(repository: Path) -> None:
    before = fingerprint(repository)
    (repository / "code" / "main.py").touch()
    (repository / "code" / "__pycache__").mkdir()
    (repository / "code" / "__pycache__" / "main.cpython-311.pyc").write_bytes(b"compiled")
    (repository / "elsewhere").write_text("changed")
    assert fingerprint(repository) == before


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore", "lock", "code/main.py", "code/new.py"])
def test_a_changed_input_gives_another_name(repository: Path, name: str) -> None:
    before = fingerprint(repository)
    (repository / name).write_text("changed")
    assert fingerprint(repository) != before


def test_another_base_tag_or_mode_gives_another_name(repository: Path) -> None:
    before = fingerprint(repository)
    (repository / "code" / "main.py").chmod(0o755)
    executable = fingerprint(repository)
    other_base = fingerprint(repository, BASE_IMAGE="localhost/base:2")
    other_tag = fingerprint(repository, replace(IMAGE, tag="example.com/image:2"))
    assert len({before, executable, other_base, other_tag}) == 4


def test_a_missing_input_is_named(repository: Path) -> None:
    (repository / "lock").unlink()
    with pytest.raises(ClusterError, match="lock is missing"):
        fingerprint(repository)


def test_an_unknown_image_is_refused_with_those_there_are() -> None:
    with pytest.raises(ClusterError, match="no such image: nothing; there are server, operator, postgres"):
        images.build("nothing")


@pytest.mark.parametrize("image", images.IMAGES.values(), ids=lambda image: image.tag)
def test_every_image_stands_on_the_same_base_pinned_by_digest(image: images.Image) -> None:
    base = images.official_base(images.REPOSITORY / image.dockerfile)
    assert re.fullmatch(r"docker\.io/library/python:[\w.-]+@sha256:[0-9a-f]{64}", base)
    assert base == images.official_base(images.REPOSITORY / "Dockerfile.server")


@pytest.mark.parametrize("image", images.IMAGES.values(), ids=lambda image: image.tag)
def test_no_image_runs_as_root(image: images.Image) -> None:
    users = re.findall(r"^USER (.*)$", (images.REPOSITORY / image.dockerfile).read_text(), re.MULTILINE)
    assert users
    assert int(users[-1].split(":")[0]) >= 10000


@pytest.mark.parametrize(
    ("sources", "mirror"),
    [
        ("deb http://ftp.example.org/debian bookworm main", "http://ftp.example.org/debian"),
        ("Types: deb\nURIs: https://a.example.org/debian/\nSuites: sid", "https://a.example.org/debian"),
        ("deb [signed-by=/k.gpg] http://a.example.org/debian/ stable main", "http://a.example.org/debian"),
        ("URIs: http://deb.debian.org/debian-security", base_image.DEFAULT_MIRROR),
        ("# deb http://old.example.org/debian bookworm main", base_image.DEFAULT_MIRROR),
        ("deb https://archive.example.org/ubuntu noble main", base_image.DEFAULT_MIRROR),
        ("", base_image.DEFAULT_MIRROR),
    ],
)  # fmt: skip
def test_the_mirror_is_the_machines_own(sources: str, mirror: str) -> None:
    assert base_image.mirror_in([sources]) == mirror
