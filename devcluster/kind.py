"""A cluster in Docker, made by kind."""

import subprocess
import tempfile
from pathlib import Path

import yaml

from devcluster import cache
from devcluster.console import step
from devcluster.current import node_states
from devcluster.errors import ClusterError
from devcluster.kubectl import Kubectl
from devcluster.local.addons import storage_class
from devcluster.status import Status


class KindCluster:
    """The kind cluster of this name; needs a Docker daemon, and `kind` and `kubectl`: those of the PATH."""

    def __init__(
        self, name: str, *, nodes: int = 1, kind: str | Path = "kind", kubectl: str | Path = "kubectl"
    ) -> None:
        self._name = name
        self._nodes = nodes
        self._program = str(kind)
        self._kubectl = str(kubectl)
        self._kubeconfig = cache.root() / "clusters" / f"kind-{name}.kubeconfig"

    def up(self) -> None:
        """Have it running, with a StorageClass `efs` beside kind's own."""
        if not self._exists():
            with step(f"Create the kind cluster {self._name}"):
                self._create()
        self._kind("export", "kubeconfig", "--kubeconfig", str(self.kubeconfig_path()))
        # kind's own default class is the same provisioner: only the name is missing. It keeps one volume to
        # one node, so it cannot bind before the pod has one.
        efs = storage_class("efs", default=False) | {"volumeBindingMode": "WaitForFirstConsumer"}
        self.kubectl().apply(efs)

    def down(self) -> None:
        """Delete it."""
        if self._exists():
            with step(f"Delete the kind cluster {self._name}"):
                self._kind("delete", "cluster")
        self._kubeconfig.unlink(missing_ok=True)

    def status(self) -> Status:
        """Its nodes, and whether each is Ready."""
        if not self._exists():
            return Status("kind", self._name, running=False)
        return Status("kind", self._name, running=True, nodes=node_states(self.kubectl()))

    def kubeconfig(self) -> Path:
        """Its kubeconfig; raises ClusterError where the cluster does not run."""
        if not self._kubeconfig.exists():
            raise ClusterError(f"the kind cluster {self._name} does not run: `python -m devcluster up`")
        return self._kubeconfig

    def kubeconfig_path(self) -> Path:
        """Where its kubeconfig is or will be."""
        self._kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        return self._kubeconfig

    def kubectl(self) -> Kubectl:
        """The kubectl that it was given."""
        return Kubectl(self.kubeconfig(), (self._kubectl,))

    def load(self, archive: Path) -> None:
        """Import the image of this docker-archive file into each node."""
        self._kind("load", "image-archive", str(archive))

    def _create(self) -> None:
        roles = ["control-plane", *["worker"] * (self._nodes - 1)]
        content = {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "nodes": [{"role": role} for role in roles],
        }
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(content, file)
            file.flush()
            path = str(self.kubeconfig_path())
            self._kind("create", "cluster", "--config", file.name, "--kubeconfig", path, "--wait", "120s")

    def _exists(self) -> bool:
        return self._name in self._run("get", "clusters").split()

    def _kind(self, *arguments: str) -> str:
        return self._run(*arguments, "--name", self._name)

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run([self._program, *arguments], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise ClusterError("the kind program is missing: see https://kind.sigs.k8s.io") from None
        if done.returncode:
            raise ClusterError(f"kind {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout
