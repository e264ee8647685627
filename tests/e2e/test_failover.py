"""What becomes of a SQLite instance, its clients and its data when its node dies or is cut off."""

import fcntl
import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcluster.kubectl import Kubectl
from devcluster.local import LocalCluster, namespaces, outages
from tests.e2e.conftest import Instance, install
from tests.support.eventually import eventually

Pod = dict[str, Any]
# The node is found out after 16 s here (50 s by default), the pod leaves it after 30 s more, and the new one
# serves a few seconds later. The rest of these limits is for machines that are slow.
BACK_SECONDS = 150
TAKEN_OVER_SECONDS = 60

# A client on the node itself: it sends the request that comes on standard input and prints status and body.
LOCAL_CLIENT = """
import http.client, json, sys
host, token, body = json.load(sys.stdin)
connection = http.client.HTTPConnection(host, 8000, timeout=20)
headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
connection.request("PUT", "/kv", json.dumps(body), headers)
answer = connection.getresponse()
print(json.dumps([answer.status, json.loads(answer.read())]))
"""


class Writer(threading.Thread):
    """Writes a key after the other through the Service, whatever happens, and notes what was acknowledged."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__()
        self._end = threading.Event()
        self._settings: dict[str, Any] = {
            "base_url": url,
            "headers": {"Authorization": f"Bearer {token}"},
            "timeout": 2,
        }
        self.begun = 0
        self.acknowledged: dict[int, int] = {}
        self.last_begun = 0.0

    def run(self) -> None:
        while not self._end.is_set():
            # A connection to a node that died stays lost.
            with httpx.Client(**self._settings) as client:
                while not self._end.wait(0.01):
                    number, now = self.begun, time.monotonic()
                    self.begun += 1
                    try:
                        answer = client.put("/kv", json={"key": f"key {number}", "value": f"value {number}"})
                    except httpx.TransportError:
                        break
                    if answer.status_code == 200:
                        self.acknowledged[number] = answer.json()["revision"]
                        self.last_begun = now

    def go_on(self) -> None:
        """Waits until some more writes were acknowledged."""
        enough = len(self.acknowledged) + 50
        eventually(lambda: len(self.acknowledged) > enough, "writes to be acknowledged")

    def served_since(self, moment: float) -> bool:
        """Whether a write was acknowledged that began after this moment (of `time.monotonic`)."""
        return self.last_begun > moment

    def finish(self) -> None:
        """Ends it, and finds every acknowledged write as it was, each of its revisions used once."""
        self._end.set()
        self.join()
        revisions = list(self.acknowledged.values())
        assert revisions == sorted(set(revisions)), "each acknowledged write has a greater revision"
        found = self._found()
        for number, revision in self.acknowledged.items():
            assert found.get(number) == (f"value {number}", revision)
        assert all(value == f"value {number}" for number, (value, _) in found.items())
        used = [revision for _, revision in found.values()]
        assert len(set(used)) == len(used), "no two writes have the same revision"
        print(f"{self.begun} writes begun, {len(revisions)} acknowledged, {len(found)} found")

    def _found(self) -> dict[int, tuple[str, int]]:
        """Returns value and revision of what is there of all that was begun."""
        found = {}
        with httpx.Client(**self._settings | {"timeout": 20}) as client:
            for start in range(0, self.begun, 1000):
                numbers = range(start, min(start + 1000, self.begun))
                operations = [{"op": "get", "key": f"key {number}"} for number in numbers]
                answer = client.post("/kv/batch", json={"operations": operations})
                assert answer.status_code == 200, answer.text
                for number, result in zip(numbers, answer.json()["results"], strict=True):
                    if result["value"] is not None:
                        found[number] = (result["value"], result["revision"])
        return found


@pytest.fixture(scope="module")
def local() -> Iterator[LocalCluster]:
    with LocalCluster("e2e-failover", nodes=2) as local:
        yield local


@pytest.fixture(scope="module")
def cluster(local: LocalCluster) -> Kubectl:
    """A cluster of this module's own, as the others would not like to lose nodes."""
    return install(local, "server", "operator")


@pytest.fixture(scope="module")
def kubectl(cluster: Kubectl) -> Kubectl:
    """kubectl bound to a namespace that goes with the cluster: while a node is lost, none can be deleted."""
    cluster("create", "namespace", "failover")
    return cluster.within("failover")


@pytest.fixture(scope="module")
def safe(cluster: Kubectl) -> str:
    """The node that nothing happens to: the operator's."""
    (pod,) = cluster.within("dumbkv-system").get("pods")["items"]
    node: str = pod["spec"]["nodeName"]
    return node


@pytest.fixture(scope="module")
def victim(safe: str) -> str:
    """The other node."""
    return {"node1": "node2", "node2": "node1"}[safe]


@pytest.fixture
def instance(
    request: pytest.FixtureRequest, local: LocalCluster, kubectl: Kubectl, safe: str, victim: str
) -> Instance:
    """An instance that serves from the node that something will happen to, and may go to the other."""
    outages.rejoin(local.files, victim)
    eventually(lambda: local.status().nodes.get(victim), f"{victim} to be Ready again", 90)
    spec = {"tolerations": getattr(request, "param", []), "ingress": {"enabled": False}}
    instance = Instance(kubectl, f"kv-{secrets.token_hex(3)}", spec)
    kubectl("cordon", safe)
    instance.apply()
    instance.wait_ready()
    kubectl("uncordon", safe)
    assert [pod["spec"]["nodeName"] for pod in pods(instance)] == [victim]
    return instance


@pytest.fixture
def writer(instance: Instance) -> Iterator[Writer]:
    """Writes from the host, all the while."""
    address = instance.kubectl.get("service", instance.name)["spec"]["clusterIP"]
    writer = Writer(f"http://{address}", token(instance))
    writer.start()
    writer.go_on()
    yield writer
    writer.go_on()
    writer.finish()


def token(instance: Instance) -> str:
    return instance.secret(f"{instance.name}-auth")["token"]


def pods(instance: Instance) -> list[Pod]:
    found: list[Pod] = instance.kubectl.get("pods", "-l", f"app.kubernetes.io/instance={instance.name}")[
        "items"
    ]
    return found


def name_of(pod: Pod) -> str:
    name: str = pod["metadata"]["name"]
    return name


def replacement(instance: Instance, former: Pod) -> Pod:
    """Returns the pod that was made in place of `former`, once its server runs."""

    def probe() -> Pod | None:
        for pod in pods(instance):
            (status,) = pod["status"].get("containerStatuses") or [{}]
            if name_of(pod) != name_of(former) and status.get("started"):
                return pod
        return None

    return eventually(probe, "a new pod to run", BACK_SECONDS)


def write_on(local: LocalCluster, node: str, pod: Pod, secret: str, body: dict[str, Any]) -> int:
    """Writes from a process on the node to a pod that runs there; returns the revision."""
    command = ["nsenter", "--target", str(namespaces.node(local.files, node)), "--net"]
    done = subprocess.run(
        [*command, sys.executable, "-c", LOCAL_CLIENT],
        input=json.dumps([pod["status"]["podIP"], secret, body]),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    status, answer = json.loads(done.stdout)
    assert status == 200, answer
    revision: int = answer["revision"]
    return revision


def lock_of(local: LocalCluster, instance: Instance) -> Path:
    """Returns the lock file of the instance's database, on the file system that all nodes share."""
    volume = instance.kubectl.get("pvc", f"{instance.name}-data")["spec"]["volumeName"]
    (path,) = local.files.volumes.glob(f"{volume}*/dumbkvstore/dumbkv.db.lock")
    return path


def is_owned(lock: Path) -> bool:
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_after_its_nodes_sudden_death_it_serves_from_the_other_by_itself(
    local: LocalCluster, instance: Instance, writer: Writer, safe: str, victim: str
) -> None:
    (former,) = pods(instance)
    outages.kill(local.files, victim)
    killed = time.monotonic()
    told = instance.wait_condition("WorkloadReady", "False", "NodeUnreachable")
    assert f"Pod {name_of(former)} is on node {victim}" in told["message"]
    eventually(lambda: writer.served_since(killed), "a write to be acknowledged", BACK_SECONDS)
    print(
        f"the first write that was acknowledged after the death came {time.monotonic() - killed:.1f} s later"
    )
    instance.wait_ready()
    assert replacement(instance, former)["spec"]["nodeName"] == safe
    assert replacement(instance, former)["status"]["containerStatuses"][0]["restartCount"] == 0


SOON = [
    {
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 3,
    }
]


@pytest.mark.parametrize("instance", [SOON], indirect=True, ids=["soon"])
@pytest.mark.parametrize("ending", [outages.kill, outages.rejoin])
def test_while_its_node_is_cut_off_the_new_pod_waits_for_the_end_of_the_former(
    local: LocalCluster, instance: Instance, writer: Writer, safe: str, victim: str, ending: Any
) -> None:
    (former,) = pods(instance)
    lock = lock_of(local, instance)
    outages.isolate(local.files, victim)
    new = replacement(instance, former)
    assert new["spec"]["nodeName"] == safe

    # The former still serves whoever reaches it, and the new one takes nothing and says why.
    kept = write_on(local, victim, former, token(instance), {"key": "cut off", "value": "and kept"})
    with httpx.Client(base_url=f"http://{new['status']['podIP']}:8000", timeout=20) as client:
        assert client.get("/livez").status_code == 200
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert f"on {name_of(former)} has it" in answer.json()["reason"]
        client.headers["Authorization"] = f"Bearer {token(instance)}"
        answer = client.put("/kv", json={"key": "cut off", "value": "a second writer's"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert f"on {name_of(former)} has it" in instance.kubectl("logs", name_of(new))
        told = instance.wait_condition("WorkloadReady", "False", "NodeUnreachable")
        assert f"Pod {name_of(former)} is on node {victim}" in told["message"]
        assert is_owned(lock)
        assert not writer.served_since(time.monotonic() - 3)

        ending(local.files, victim)
        ended = time.monotonic()
        eventually(lambda: client.get("/readyz").status_code == 200, "the new pod", TAKEN_OVER_SECONDS)
        print(f"the new pod was ready {time.monotonic() - ended:.1f} s after {ending.__name__}")
        found = client.post("/kv", json={"key": "cut off"}).json()
        assert (found["value"], found["revision"]) == ("and kept", kept)
    eventually(lambda: writer.served_since(ended), "the Service to lead to the new pod", TAKEN_OVER_SECONDS)
    instance.wait_ready()
    (status,) = instance.kubectl.get("pod", name_of(new))["status"]["containerStatuses"]
    assert status["restartCount"] == 0, "it waited, and was not restarted"
