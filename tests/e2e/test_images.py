"""What a cluster runs is the code as it is now, also where a build finds an older one in a cache."""

import json
import re
import tarfile
from pathlib import Path
from typing import IO

import pytest

from devcluster import images

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "package"),
    [("server", "kvserver/dumbkv_server"), ("operator", "operator/dumbkv_operator")],
)
def test_an_image_holds_the_code_as_it_is_now(name: str, package: str) -> None:
    source = REPOSITORY / package
    wanted = {
        str(path.relative_to(source)): path.read_bytes()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed(images.build(name)[name], source.name) == wanted


def packed(archive: Path, package: str) -> dict[str, bytes]:
    """Returns the files of a Python package in an image, without what was compiled from them."""
    inside = re.compile(rf"app/\.venv/lib/[^/]+/site-packages/{package}/(.*)")
    found = {}
    with tarfile.open(archive) as image:
        for layer in json.load(extracted(image, "manifest.json"))[0]["Layers"]:
            with tarfile.open(fileobj=extracted(image, layer)) as content:
                for member in content:
                    match = inside.fullmatch(member.name)
                    if match and member.isfile() and "__pycache__" not in member.name:
                        found[match[1]] = extracted(content, member).read()
    return found


def extracted(archive: tarfile.TarFile, member: str | tarfile.TarInfo) -> IO[bytes]:
    """Returns a file of an archive, which has it."""
    file = archive.extractfile(member)
    assert file is not None, f"{member} is no file"
    return file
