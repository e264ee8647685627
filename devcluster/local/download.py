"""Downloads official releases, and takes nothing whose published checksum does not match."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import httpx

from devcluster.errors import ClusterError

# A machine that cannot reach the releases should know it at once and start to compile.
TIMEOUT = httpx.Timeout(30, connect=3)


class UnreachableError(Exception):
    """The release could not be had; the text says why."""


@dataclass(frozen=True)
class Release:
    """A file and where its SHA-256 is published, either alone or in a list of `hash  name` lines."""

    url: str
    checksum_url: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]


def fetch(release: Release, folder: Path) -> Path:
    """Download the file into the folder; returns its path.

    Raises UnreachableError where the server cannot be reached or the transfer breaks off, and ClusterError
    where what came is not what was published. In both cases no file is left.
    """
    target = folder / release.name
    try:
        with httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client:
            published = client.get(release.checksum_url).raise_for_status().text
            expected = checksum(published, release.name)
            digest = hashlib.sha256()
            with client.stream("GET", release.url) as response, target.open("wb") as file:
                response.raise_for_status()
                for chunk in response.iter_bytes():
                    digest.update(chunk)
                    file.write(chunk)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        target.unlink(missing_ok=True)
        raise UnreachableError(f"{release.url}: {error or type(error).__name__}") from error
    if digest.hexdigest() != expected:
        target.unlink()
        raise ClusterError(
            f"{release.url} has the SHA-256 {digest.hexdigest()}, but {release.checksum_url} says "
            f"{expected}: refused. Try again; if it stays so, set DUMBKV_DOWNLOADS=never to compile instead"
        )
    return target


def checksum(published: str, name: str) -> str:
    """The SHA-256 of the file of this name in what was published; raises UnreachableError without one."""
    for line in published.splitlines():
        words = line.split()
        if words and len(words[0]) == 64 and (len(words) == 1 or words[-1].lstrip("*") == name):
            return words[0].lower()
    raise UnreachableError(f"no SHA-256 of {name} is published")
