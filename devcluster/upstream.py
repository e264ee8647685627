"""Manifests of other projects: the CRDs of kinds that DumbKV works with, and what kwok is told to pretend."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devcluster import cache
from devcluster.console import step
from devcluster.errors import ClusterError


@dataclass(frozen=True)
class Source:
    """A Go module whose zip carries manifests: the folder that they are in, and the files wanted."""

    module: str
    version: str
    folder: str
    files: tuple[str, ...]


SOURCES = {
    "prometheus-operator": Source(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "example/prometheus-operator-crd",
        ("monitoring.coreos.com_servicemonitors.yaml", "monitoring.coreos.com_prometheusrules.yaml"),
    ),
    "gateway-api": Source(
        "sigs.k8s.io/gateway-api",
        "v1.4.0",
        "config/crd/standard",
        (
            "gateway.networking.k8s.io_gatewayclasses.yaml",
            "gateway.networking.k8s.io_gateways.yaml",
            "gateway.networking.k8s.io_httproutes.yaml",
        ),
    ),
    "kwok": Source(
        "sigs.k8s.io/kwok",
        "v0.8.0",
        "kustomize/stage",
        (
            "node/fast/node-initialize.yaml",
            "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
            "pod/fast/pod-complete.yaml",
            "pod/fast/pod-delete.yaml",
            "pod/fast/pod-ready.yaml",
        ),
    ),
}


def fetch(name: str) -> list[Path]:
    """Returns the files of `prometheus-operator`, `gateway-api` or `kwok`, from the cache where it has them.

    Go checks each module against the public checksum database. Raises ClusterError where it cannot be had.
    """
    source = SOURCES[name]
    folder = cache.folder("upstream", f"{name}-{source.version}")
    wanted = [folder / file for file in source.files]
    if not all(path.exists() for path in wanted):
        with step(f"Fetch the manifests of {name}"):
            module = Path(_download(source)) / source.folder
            for file, path in zip(source.files, wanted, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                cache.write(path, (module / file).read_text())
    return wanted


def _download(source: Source) -> str:
    if shutil.which("go") is None:
        raise ClusterError(
            f"{source.module} is fetched as a Go module: install Go 1.21 or later and start again"
        )
    command = ["go", "mod", "download", "-json", f"{source.module}@{source.version}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return str(json.loads(done.stdout)["Dir"])
