"""The local cluster: brings it up, takes it down, and finds out in which state it is."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

from devcluster import cache, upstream
from devcluster.console import step
from devcluster.errors import ClusterError
from devcluster.kubectl import Kubectl
from devcluster.local import (
    addons,
    api,
    credentials,
    images_store,
    namespaces,
    packages,
    programs,
    teardown,
    tools_image,
    uplink,
)
from devcluster.local.addresses import MAXIMUM_NODES
from devcluster.local.spec import Files, Spec, node_names
from devcluster.status import Status

START_SECONDS = 90
# A component that ended this often while the cluster starts will not get well by waiting.
MOST_EXITS = 5
# The programs' own folders are hidden from the cluster, so its files cannot be in them.
HIDDEN = ("/run/", "/var/lib/", "/var/log/")


class LocalCluster:
    """A cluster of this name with its nodes in namespaces of their own; needs Linux and root.

    `nodes` is how many it has at least (by default 1, or what already runs). With `api_only` it is etcd, the
    API server and the controller manager: no scheduler, no nodes, up in seconds. As a context it is up
    within the block and taken down at its end.
    """

    def __init__(
        self, name: str = "dumbkv", *, nodes: int | None = None, api_only: bool = False, fake_nodes: int = 0
    ) -> None:
        if nodes is not None and not 0 <= nodes <= MAXIMUM_NODES:
            raise ClusterError(f"a local cluster has 0 to {MAXIMUM_NODES} nodes, not {nodes}")
        self.name = name
        self.files = Files(name)
        self._nodes = 0 if api_only else 1 if nodes is None else nodes
        self._scheduler = not api_only or fake_nodes > 0
        self._fake_nodes = fake_nodes

    def __enter__(self) -> "LocalCluster":
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """Have it running; one that runs is kept and, where more is asked for, grows."""
        self._check_system()
        with cache.lock(f"cluster-{self.name}"):
            running = self._running()
            if running is None:
                # What a cluster that died half-way left behind.
                teardown.end(self.files)
            spec = self._specification(running)
            if running is None:
                self._start(spec)
            elif spec != running:
                self._grow(spec)
            self._wait()

    def down(self) -> None:
        """End it and wait until nothing of it is left."""
        with cache.lock(f"cluster-{self.name}"):
            if self.files.folder.exists() or namespaces.outer(self.files) is not None:
                self._check_root()
                with step(f"Take down the cluster {self.name}"):
                    teardown.end(self.files)

    def status(self) -> Status:
        """Which nodes are Ready, and for each component its pid or how it ended."""
        spec = self._running()
        if spec is None:
            return Status("local", self.name, running=False)
        components = {}
        for keeper in ("supervisor", *node_names(spec.nodes)):
            for name, record in self._state(keeper).items():
                running = f"runs ({record['exits']} restarts)" if record["exits"] else "runs"
                components[name] = running if record["pid"] else f"ended: {record['last']}"
        return Status("local", self.name, running=True, nodes=api.ready_nodes(spec), components=components)

    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; raises ClusterError where the cluster does not run."""
        self._required()
        return self.files.kubeconfig

    def kubectl(self) -> Kubectl:
        """The kubectl that came with the cluster."""
        return Kubectl(self.kubeconfig(), (self._required().program("kubectl"),))

    def load(self, archive: Path) -> None:
        """Import the image of this docker-archive file into each node, and into those to come."""
        spec = self._required()
        if not archive.is_file():
            raise ClusterError(f"{archive} is no file: give a docker-archive, say from `buildah push`")
        images_store.add(self.files, archive, spec.nodes)

    def _running(self) -> Spec | None:
        """What runs, None where nothing does or only half of it."""
        spec = self.files.load()
        if spec is None or namespaces.supervisor(self.files) is None or not uplink.exists(spec):
            return None
        return spec

    def _required(self) -> Spec:
        spec = self._running()
        if spec is None:
            raise ClusterError(f"the cluster {self.name} does not run: `python -m devcluster up` starts it")
        return spec

    def _specification(self, running: Spec | None) -> Spec:
        wanted = ["kubernetes"]
        if self._nodes:
            packages.ensure(packages.NODE)
            wanted += ["coredns", "local-path-provisioner"]
        if self._fake_nodes:
            wanted.append("kwok")
        packages.ensure(packages.CONTROL_PLANE)
        folders = programs.ensure(*wanted)
        spec = Spec(
            name=self.name,
            block=running.block if running else -1,
            nodes=self._nodes,
            scheduler=self._scheduler,
            fake_nodes=self._fake_nodes > 0,
            kubernetes=str(folders["kubernetes"]),
            tools_image=str(tools_image.ensure()) if self._nodes else "",
            kwok_stages=[str(path) for path in upstream.fetch("kwok")] if self._fake_nodes else [],
            **{
                field: str(folders[name] / name)
                for field, name in (
                    ("coredns", "coredns"),
                    ("provisioner", "local-path-provisioner"),
                    ("kwok", "kwok"),
                )
                if name in folders
            },
        )
        return running.grown(spec) if running else spec

    def _start(self, spec: Spec) -> None:
        with step(f"Start the cluster {self.name}"), cache.lock("addresses"):
            chosen = replace(spec, block=uplink.free_block(self.name))
            self._write(chosen)
            namespaces.start(self.files)
            self._until(lambda: namespaces.supervisor(self.files) is not None, "its namespaces")
            uplink.make(chosen, namespaces.supervisor(self.files))

    def _grow(self, spec: Spec) -> None:
        self._write(spec)
        self._reload()

    def _write(self, spec: Spec) -> None:
        credentials.write(spec)
        if spec.tools_image:
            images_store.keep(self.files, Path(spec.tools_image))
        spec.save()

    def _reload(self) -> None:
        pid = namespaces.supervisor(self.files)
        if pid is not None:
            os.kill(pid, signal.SIGHUP)

    def _wait(self) -> None:
        spec = self._required()
        if not api.ready(spec):
            with step("Wait for the API server"):
                self._until(partial(api.ready, spec), "the API server", "kube-apiserver")
        if not spec.nodes:
            return
        names = node_names(spec.nodes)
        with step(f"Wait for {', '.join(names)}"):
            for path, manifest in addons.manifests(spec).items():
                self._until(partial(api.apply, spec, path, manifest), path, "kube-apiserver")
            self._until(
                lambda: _usable(spec, names), f"of {', '.join(names)} not all", f"{names[-1]}.kubelet"
            )

    def _until(self, done: Callable[[], bool], what: str, component: str = "supervisor") -> None:
        deadline = time.monotonic() + START_SECONDS
        while not done():
            self._check_components()
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{what} did not come up within {START_SECONDS} s: read the log, then "
                    "`python -m devcluster down` and `up` again",
                    self.files.log(component),
                )
            time.sleep(0.05)

    def _check_components(self) -> None:
        """Raise ClusterError where waiting is in vain."""
        if self.files.log("supervisor").exists() and namespaces.outer(self.files) is None:
            raise ClusterError("the cluster ended as soon as it started", self.files.log("supervisor"))
        for keeper in ("supervisor", *node_names(MAXIMUM_NODES)):
            for name, record in self._state(keeper).items():
                if record["exits"] >= MOST_EXITS:
                    raise ClusterError(
                        f"{name} ended {record['exits']} times ({record['last']}): read its log",
                        self.files.log(name),
                    )

    def _state(self, keeper: str) -> dict[str, dict[str, int]]:
        try:
            loaded: dict[str, dict[str, int]] = json.loads(self.files.state(keeper).read_text())
        except FileNotFoundError:
            return {}
        return loaded

    def _check_system(self) -> None:
        programs.architecture()
        self._check_root()
        if str(self.files.folder).startswith(HIDDEN):
            raise ClusterError(f"the cluster's files cannot be in {self.files.folder}: set XDG_CACHE_HOME")

    def _check_root(self) -> None:
        if os.geteuid() != 0:
            raise ClusterError("the local cluster needs root (namespaces, mounts): use sudo, or install kind")


def _usable(spec: Spec, names: list[str]) -> bool:
    """Whether these nodes are Ready and pods can be made, which takes the default service account."""
    ready = api.ready_nodes(spec)
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    return all(ready.get(name) for name in names) and api.get(spec, account) is not None
