"""The cluster's programs: from the cache, else official releases, else compiled from Go modules."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from devcluster import cache
from devcluster.console import note, step
from devcluster.errors import ClusterError
from devcluster.local.download import Release, UnreachableError, fetch

SOURCES = Path(__file__).parent / "programs"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# The compiler uses all cores anyway; a second one fills the gaps while the first one links.
PARALLEL_COMPILES = 2
KUBERNETES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
)


@dataclass(frozen=True)
class Program:
    """A folder of SOURCES and what comes out of it.

    `package` is what `go build` gets, `module` the module whose version is the program's, `links` the names
    under which one binary is several programs, `releases` where official binaries are.
    """

    name: str
    package: str
    module: str
    links: tuple[str, ...] = ()
    releases: Callable[[Mapping[str, str], str], list[Release]] = lambda _versions, _architecture: []

    def versions(self) -> dict[str, str]:
        """The version of each required module, without the leading `v`."""
        lines = (SOURCES / self.name / "go.mod").read_text()
        return dict(re.findall(r"^(?:require)?\s+(\S+) v(\S+)", lines, re.MULTILINE))

    def folder(self) -> Path:
        """Where it is cached: another version, platform or source is another folder."""
        digest = hashlib.sha256()
        for path in sorted((SOURCES / self.name).iterdir()):
            digest.update(f"{path.name}\n".encode() + path.read_bytes())
        version = self.versions()[self.module]
        name = f"{self.name}-{version}-linux-{architecture()}-{digest.hexdigest()[:12]}"
        return cache.root() / "programs" / name


def _kubernetes_releases(versions: Mapping[str, str], architecture: str) -> list[Release]:
    base = f"https://dl.k8s.io/release/v{versions['k8s.io/kubernetes']}/bin/linux/{architecture}"
    etcd = versions["go.etcd.io/etcd/server/v3"]
    etcd_base = f"https://github.com/etcd-io/etcd/releases/download/v{etcd}"
    return [Release(f"{base}/{name}", f"{base}/{name}.sha256") for name in KUBERNETES] + [
        Release(f"{etcd_base}/etcd-v{etcd}-linux-{architecture}.tar.gz", f"{etcd_base}/SHA256SUMS")
    ]


def _coredns_releases(versions: Mapping[str, str], architecture: str) -> list[Release]:
    version = versions["github.com/coredns/coredns"]
    file = f"coredns_{version}_linux_{architecture}.tgz"
    url = f"https://github.com/coredns/coredns/releases/download/v{version}/{file}"
    return [Release(url, f"{url}.sha256")]


PROGRAMS = {
    program.name: program
    for program in (
        Program("kubernetes", ".", "k8s.io/kubernetes", (*KUBERNETES, "etcd"), _kubernetes_releases),
        Program("coredns", ".", "github.com/coredns/coredns", releases=_coredns_releases),
        Program(
            "local-path-provisioner",
            "github.com/rancher/local-path-provisioner",
            "github.com/rancher/local-path-provisioner",
        ),
        Program("kwok", "sigs.k8s.io/kwok/cmd/kwok", "sigs.k8s.io/kwok"),
    )
}


def architecture() -> str:
    """The machine's architecture as Go names it; raises ClusterError where there are no programs for it."""
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in ARCHITECTURES:
        raise ClusterError(f"the local cluster needs Linux on {' or '.join(ARCHITECTURES)}, not {machine}")
    return ARCHITECTURES[machine]


def ensure(*names: str) -> dict[str, Path]:
    """Have these programs ready; returns the folder of each, with its executables in it.

    Raises ClusterError where one can be neither downloaded nor compiled.
    """
    programs = [PROGRAMS[name] for name in names]
    if any(not program.folder().exists() for program in programs):
        with cache.lock("programs"):
            _make([program for program in programs if not program.folder().exists()])
    return {program.name: program.folder() for program in programs}


def _make(programs: list[Program]) -> None:
    parent = cache.folder("programs")
    for stale in parent.glob(".new-*"):
        shutil.rmtree(stale)
    left = [program for program in programs if not _downloaded(program, parent)]
    if not left:
        return
    _check_compiler(left)
    began = time.monotonic()
    with (
        step(f"Compile {', '.join(program.name for program in left)} (minutes, once)") as show,
        ThreadPoolExecutor(PARALLEL_COMPILES) as pool,
    ):
        counts: dict[str, int] = {}

        def progress(name: str, packages: int) -> None:
            counts[name] = packages
            show(", ".join(f"{each}: {count} packages" for each, count in counts.items()))

        for name in pool.map(lambda program: _compiled(program, parent, progress), left):
            counts.pop(name, None)
            note(f"{name} compiled ({time.monotonic() - began:.0f} s)")


def _downloaded(program: Program, parent: Path) -> bool:
    """Whether the official release was there; on success it is in its place."""
    releases = program.releases(program.versions(), architecture())
    if not releases or os.environ.get("DUMBKV_DOWNLOADS") == "never":
        return False
    staging = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
    try:
        with step(f"Download {program.name}"), ThreadPoolExecutor(4) as pool:
            unpack(pool.map(lambda release: fetch(release, staging), releases), staging)
    except UnreachableError as error:
        note(f"{error}: {program.name} will be compiled")
        shutil.rmtree(staging)
        return False
    staging.chmod(0o755)
    staging.rename(program.folder())
    return True


def unpack(files: Iterable[Path], folder: Path) -> None:
    """Make what was downloaded executable; of an archive, its executables, flat in the folder."""
    for file in files:
        if file.suffix not in (".gz", ".tgz"):
            file.chmod(0o755)
            continue
        with tarfile.open(file) as archive:
            for member in archive.getmembers():
                if member.isfile() and member.mode & 0o100:
                    member.name = Path(member.name).name
                    archive.extract(member, folder, filter="data")
        file.unlink()


def _check_compiler(programs: list[Program]) -> None:
    if shutil.which("go") is None:
        names = ", ".join(program.name for program in programs)
        raise ClusterError(
            f"{names} must be compiled, and there is no `go`: install Go 1.21 or later "
            "(https://go.dev/dl, or your distribution's package) and start again"
        )


def _compiled(program: Program, parent: Path, progress: Callable[[str, int], None]) -> str:
    staging = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
    output = staging / program.name
    flags = f"-s -w {_version_flags(program)}".strip()
    command = ["go", "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", str(output)]
    log = cache.folder("logs") / f"compile-{program.name}.log"
    with (
        log.open("w") as file,
        subprocess.Popen(
            [*command, program.package],
            cwd=SOURCES / program.name,
            env={**os.environ, "CGO_ENABLED": "0"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        for count, line in enumerate(process.stderr or [], start=1):
            file.write(line)
            progress(program.name, count)
    if process.returncode:
        raise ClusterError(
            f"{program.name} does not compile: is a Go module proxy reachable (go env GOPROXY)?", log
        )
    for link in program.links:
        (staging / link).symlink_to(program.name)
    staging.chmod(0o755)
    staging.rename(program.folder())
    return program.name


def _version_flags(program: Program) -> str:
    """What a program that is built outside its own repository cannot know: its version."""
    if program.name != "kubernetes":
        return ""
    version = program.versions()[program.module]
    major, minor, _ = version.split(".")
    values = {
        "gitVersion": f"v{version}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "0" * 40,
    }
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())
