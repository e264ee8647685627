"""A cluster that is an API server only: up in seconds, beside others, and gone without a trace."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.local import LocalCluster, namespaces
from devcluster.local.addresses import RANGE
from tests.support.eventually import eventually

NAME = "tests-one"
OTHER = "tests-two"
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "example.com/web:1"}]},
        },
    },
}


def traces() -> set[str]:
    """Everything on the host that a cluster could leave behind, one line each."""
    links = json.loads(subprocess.check_output(["ip", "-json", "link"]))
    routes = subprocess.check_output(["ip", "route"], text=True).splitlines()
    mounts = [line.split(" ", 4)[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    tables = subprocess.check_output(["nft", "list", "tables"], text=True).splitlines()
    spaces = subprocess.check_output(["ip", "netns"], text=True).splitlines()
    commands = [
        " ".join(namespaces.command_line(int(entry.name)))
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
    ]
    processes = [command for command in commands if "clusters/tests-" in command]
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob("**/dumbkv-tests-*")]
    folders = [
        str(path)
        for parent in ("/var/lib", "/var/log", "/run", "/opt", "/etc")
        for path in Path(parent).iterdir()
    ]
    return {
        *(link["ifname"] for link in links),
        *routes,
        *mounts,
        *tables,
        *spaces,
        *processes,
        *cgroups,
        *folders,
    }


@pytest.fixture
def before() -> Iterator[set[str]]:
    """What was there before the test; afterwards, nothing may be there that was not."""
    found = traces()
    yield found
    for name in (NAME, OTHER):
        LocalCluster(name).down()
    eventually(lambda: not traces() - found, f"nothing left, but: {traces() - found}", timeout=10)


def test_two_clusters_live_side_by_side_and_leave_nothing(before: set[str]) -> None:
    with LocalCluster(NAME, api_only=True) as one, LocalCluster(OTHER, api_only=True) as two:
        kubectl = one.kubectl()
        kubectl("create", "configmap", "mine")
        assert kubectl.find("configmap", "mine")
        assert two.kubectl().find("configmap", "mine") is None
        servers = {
            each.kubectl()("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
            for each in (one, two)
        }
        assert len(servers) == 2
        assert traces() - before
    assert not one.files.folder.exists()


def test_controllers_run_and_garbage_is_collected(before: set[str]) -> None:
    with LocalCluster(NAME, api_only=True) as cluster:
        kubectl = cluster.kubectl()
        kubectl.apply(DEPLOYMENT)
        eventually(lambda: kubectl.get("replicasets")["items"], "a replica set")
        eventually(lambda: kubectl.get("pods")["items"], "a pod")
        kubectl("delete", "deployment", "web")
        eventually(lambda: not kubectl.get("replicasets")["items"], "the replica set collected")


def test_up_keeps_what_runs(before: set[str]) -> None:
    with LocalCluster(NAME, api_only=True) as cluster:
        outer = namespaces.outer(cluster.files)
        began = time.monotonic()
        LocalCluster(NAME, api_only=True).up()
        assert namespaces.outer(cluster.files) == outer
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("nodes", [0, 1])
def test_killing_the_outer_process_ends_everything_at_once(before: set[str], nodes: int) -> None:
    cluster = LocalCluster(NAME, api_only=not nodes, nodes=nodes)
    cluster.up()
    outer = namespaces.outer(cluster.files)
    assert outer is not None
    os.kill(outer, signal.SIGKILL)

    def left() -> set[str]:
        # Nobody is there to remove the empty folders of control groups: the next `up` or `down` does.
        return {trace for trace in traces() - before if not trace.startswith("/sys/fs/cgroup")}

    try:
        eventually(lambda: not left(), "nothing left after kill -9", timeout=10)
    except AssertionError:
        raise AssertionError(f"left after kill -9: {left()}") from None
    assert not cluster.status().running
    cluster.up()
    assert cluster.status().running


def test_up_goes_on_after_an_interrupt_at_any_moment(before: set[str]) -> None:
    command = [sys.executable, "-m", "devcluster", "up", "--provider", "local", "--name", NAME, "--api-only"]
    for seconds in (0.5, 1.0, 1.5, 2.5):
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode in (0, 130, -signal.SIGINT), said
    LocalCluster(NAME, api_only=True).up()
    assert LocalCluster(NAME).kubectl()("get", "--raw", "/readyz") == "ok"


def test_the_host_reaches_a_cluster_only_in_the_range_for_tests(before: set[str]) -> None:
    with LocalCluster(NAME, api_only=True) as cluster:
        spec = cluster.files.load()
        assert spec is not None
        assert spec.addresses.network.subnet_of(RANGE)
