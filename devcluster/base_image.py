"""A base image made on this machine, for where the official Python image cannot be pulled."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from devcluster import cache
from devcluster.console import step
from devcluster.image_tools import isolated
from devcluster.local import packages

# The suite is the one of the official image, whatever this machine runs: the test images name its packages.
SUITE = "bookworm"
INCLUDE = "python3,python3-venv,ca-certificates"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# A pod reads none of it, and every image carries it.
DISPENSABLE = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    *(f"usr/share/{name}" for name in ("doc", "info", "locale", "man")),
)
RECIPE = 1
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
PROGRAMS = {"debootstrap": "debootstrap", KEYRING: "debian-archive-keyring"}


def archive() -> Path:
    """The root file system as a tar file, made if it is not in the cache; its name changes with its recipe.

    It carries this machine's certificate authorities, so that package indexes behind them can be reached.
    Raises ClusterError where debootstrap is missing or fails.
    """
    found_mirror = mirror()
    target = cache.folder("images") / f"base-{SUITE}-{_identity(found_mirror)}.tar"
    if not target.exists():
        packages.ensure(PROGRAMS)
        with step("Make the base image with debootstrap (a minute or two)"):
            _make(found_mirror, target)
    return target


def mirror() -> str:
    """The Debian mirror that this machine's own apt is set to, else Debian's default."""
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    texts = [
        file.read_text(errors="replace")
        for file in files
        if file.suffix in (".list", ".sources") and file.is_file()
    ]
    return mirror_in(texts)


def mirror_in(texts: Iterable[str]) -> str:
    """The first mirror of Debian itself in these apt sources, one-line or deb822, else Debian's default.

    Only a path that ends in `/debian` holds the distribution: the security archive and vendors' do not.
    """
    for text in texts:
        for line in text.splitlines():
            if re.match(r"\s*(deb\s|URIs:)", line) and (
                found := re.search(r"https?://\S+/debian/?(?=\s|$)", line)
            ):
                return found.group().rstrip("/")
    return DEFAULT_MIRROR


def _identity(chosen_mirror: str) -> str:
    bundle = BUNDLE.read_bytes() if BUNDLE.exists() else b""
    recipe = f"{RECIPE} {SUITE} {INCLUDE} {chosen_mirror} {DISPENSABLE}"
    return hashlib.sha256(recipe.encode() + bundle).hexdigest()[:12]


def _make(chosen_mirror: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="tmp-base-") as name:
        root, temporary = Path(name) / "root", Path(name) / "base.tar"
        isolated(
            "debootstrap",
            "--variant=minbase",
            f"--include={INCLUDE}",
            f"--keyring={KEYRING}",
            SUITE,
            str(root),
            chosen_mirror,
        )
        for path in DISPENSABLE:
            folder = root / path
            shutil.rmtree(folder)
            folder.mkdir(mode=0o755)
        if BUNDLE.exists():
            shutil.copyfile(BUNDLE, root / BUNDLE.relative_to("/"))
        isolated(
            "tar",
            "--create",
            "--numeric-owner",
            "--exclude=./dev/*",
            "--directory",
            str(root),
            "--file",
            str(temporary),
            ".",
        )
        temporary.rename(target)
