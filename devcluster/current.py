"""The cluster that the user's kubeconfig points to. Taken only when it is asked for by name."""

import os
from pathlib import Path

from devcluster.console import note
from devcluster.errors import ClusterError
from devcluster.kubectl import Kubectl, KubectlError
from devcluster.status import Status


class CurrentCluster:
    """The kubeconfig's current context: it is neither made nor taken away here."""

    def __init__(self) -> None:
        given = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
        self._kubeconfig = Path(given) if given else Path.home() / ".kube" / "config"

    def up(self) -> None:
        """Check that it answers; raises ClusterError where it does not."""
        try:
            self.kubectl()("get", "--raw", "/readyz", timeout=20)
        except KubectlError as error:
            raise ClusterError(f"the current context does not answer: {error}") from error

    def down(self) -> None:
        """Do nothing: it was there before."""

    def status(self) -> Status:
        """Its nodes, and whether each is Ready."""
        kubectl = self.kubectl()
        name = kubectl("config", "current-context").strip()
        return Status("current", name, running=True, nodes=node_states(kubectl))

    def kubeconfig(self) -> Path:
        """The user's own kubeconfig; raises ClusterError where there is none."""
        if not self._kubeconfig.exists():
            raise ClusterError(f"{self._kubeconfig} does not exist: set KUBECONFIG, or take another provider")
        return self._kubeconfig

    def kubectl(self) -> Kubectl:
        """The kubectl of the PATH."""
        return Kubectl(self.kubeconfig())

    def load(self, archive: Path) -> None:
        """Say that nothing is done: such a cluster pulls its images."""
        note(f"{archive.name} is not loaded: the current cluster pulls the image from its registry")


def node_states(kubectl: Kubectl) -> dict[str, bool]:
    """Each node's name and whether it is Ready."""
    return {
        node["metadata"]["name"]: any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in node["status"]["conditions"]
        )
        for node in kubectl.get("nodes")["items"]
    }
