"""What a local cluster should be, and where its files are: the one file that all its processes read."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from devcluster import cache
from devcluster.local.addresses import Addresses

# The API server's, on each of the control plane's addresses.
PORT = 6443


def node_names(count: int) -> list[str]:
    """The names of the first `count` nodes: node1, node2, …"""
    return [f"node{index}" for index in range(1, count + 1)]


@dataclass(frozen=True)
class Spec:
    """What the cluster should be. Everything here only ever grows while a cluster runs."""

    name: str
    block: int
    nodes: int
    scheduler: bool
    fake_nodes: bool
    kubernetes: str
    coredns: str = ""
    provisioner: str = ""
    kwok: str = ""
    tools_image: str = ""
    kwok_stages: list[str] = field(default_factory=list)

    @property
    def addresses(self) -> Addresses:
        """The addresses of this cluster."""
        return Addresses(self.block)

    @property
    def files(self) -> "Files":
        """The files of this cluster."""
        return Files(self.name)

    def program(self, name: str) -> str:
        """The path of one of Kubernetes' programs, etcd and kubectl included."""
        return str(Path(self.kubernetes) / name)

    def save(self) -> None:
        """Write it where the cluster's processes read it."""
        cache.write(self.files.spec, json.dumps(asdict(self), indent=2))

    def grown(self, other: "Spec") -> "Spec":
        """Itself with what `other` has more of."""
        return replace(
            self,
            nodes=max(self.nodes, other.nodes),
            scheduler=self.scheduler or other.scheduler,
            fake_nodes=self.fake_nodes or other.fake_nodes,
            coredns=self.coredns or other.coredns,
            provisioner=self.provisioner or other.provisioner,
            kwok=self.kwok or other.kwok,
            tools_image=self.tools_image or other.tools_image,
            kwok_stages=self.kwok_stages or other.kwok_stages,
        )


@dataclass(frozen=True)
class Files:
    """The files of the cluster of this name, all below one folder."""

    name: str

    @property
    def folder(self) -> Path:
        """The folder that holds them all."""
        return cache.root() / "clusters" / self.name

    @property
    def spec(self) -> Path:
        """What the cluster should be."""
        return self.folder / "cluster.json"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, for programs on the host."""
        return self.folder / "kubeconfig"

    @property
    def certificates(self) -> Path:
        """Keys and certificates."""
        return self.folder / "certificates"

    @property
    def configuration(self) -> Path:
        """The components' own configuration files and kubeconfigs."""
        return self.folder / "configuration"

    def client(self, name: str) -> Path:
        """The kubeconfig of a component, or of the kubelet of the node of this name."""
        return self.configuration / f"{name}.kubeconfig"

    @property
    def images(self) -> Path:
        """Image archives that every node imports when it starts."""
        return self.folder / "images"

    @property
    def volumes(self) -> Path:
        """The file system that all nodes share: the claims' data."""
        return self.folder / "volumes"

    def node(self, name: str) -> Path:
        """What one node keeps: images, containers, the kubelet's state."""
        return self.folder / "nodes" / name

    def log(self, component: str) -> Path:
        """A component's output; `node1.kubelet` for one of a node."""
        return self.folder / "logs" / f"{component}.log"

    def state(self, keeper: str) -> Path:
        """Which processes a keeper (`supervisor`, `node1`) runs, and how often each had to start again."""
        return self.folder / "state" / f"{keeper}.json"

    def load(self) -> Spec | None:
        """What the cluster should be, or None where there is none."""
        try:
            return Spec(**json.loads(self.spec.read_text()))
        except FileNotFoundError:
            return None
