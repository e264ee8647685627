"""`make run`: from nothing to a key put, got and deleted through a DumbKV on a real cluster."""

import base64
import json
import shutil
import sys
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from devcluster import images, provider
from devcluster.console import console, note, step
from devcluster.errors import ClusterError
from devcluster.kubectl import Kubectl

REPOSITORY = Path(__file__).parents[1]
SAMPLE = REPOSITORY / "manifests" / "samples" / "sqlite.yaml"
NAME = "sqlite"
KEY = "correct horse battery staple"


def main() -> int:
    """Brings up cluster, operator and a sample, uses it, says what to try next; returns the exit code."""
    try:
        cluster = provider.choose()
        with step("cluster"):
            cluster.up()
        with step("images"):
            archives = images.build("server", "operator")
        for name, archive in archives.items():
            with step(f"load image {name}"):
                cluster.load(archive)
        kubectl = cluster.kubectl()
        install(kubectl)
        use(kubectl)
        report(kubectl)
    except (ClusterError, httpx.HTTPError) as error:
        console.print(str(error), style="red", markup=False)
        if isinstance(error, ClusterError) and error.tail:
            console.print(f"{error.log}:\n{error.tail}", markup=False)
        return 1
    except KeyboardInterrupt:
        note("interrupted; `make run` goes on from here, `make down` takes all of it away")
        return 130
    return 0


def install(kubectl: Kubectl) -> None:
    """Installs CRD and operator, applies the sample and waits until it is Ready."""
    with step("install the operator"):
        kubectl("apply", "-k", str(REPOSITORY / "manifests" / "operator"))
        kubectl(
            "-n",
            "dumbkv-system",
            "rollout",
            "status",
            "deployment/dumbkv-operator",
            "--timeout=120s",
            timeout=130,
        )
    with step(f"apply {SAMPLE.relative_to(REPOSITORY)} and wait for Ready"):
        kubectl("apply", "-f", str(SAMPLE))
        kubectl("wait", f"dumbkv/{NAME}", "--for=condition=Ready", "--timeout=120s", timeout=130)


def use(kubectl: Kubectl) -> None:
    """Puts, gets and deletes a key through the Service, and prints each request and answer."""
    token = base64.b64decode(kubectl.get("secret", f"{NAME}-auth")["data"]["token"]).decode()
    headers = {"Authorization": f"Bearer {token}"}
    key = {"database": 0, "key": KEY}
    with (
        kubectl.port_forward(f"service/{NAME}", 80) as url,
        httpx.Client(base_url=url, headers=headers, timeout=20) as client,
    ):
        for method, body in (("PUT", key | {"value": "a secret"}), ("POST", key), ("DELETE", key)):
            answer = client.request(method, "/kv", json=body)
            answer.raise_for_status()
            print(f"{method:6} /kv  {json.dumps(body)}  ->  {answer.status_code} {answer.text}")


def report(kubectl: Kubectl) -> None:
    """Prints the resource's columns, conditions and URL, and three commands to try."""
    status = kubectl.get("dumbkv", NAME)["status"]
    print("\n" + kubectl("get", "dumbkv", NAME, "-o", "wide"))
    table = Table("CONDITION", "STATUS", "REASON", "MESSAGE", box=None, header_style="")
    for each in status["conditions"]:
        table.add_row(each["type"], each["status"], each["reason"], each.get("message", ""))
    Console().print(table)
    program = "kubectl" if shutil.which("kubectl") else " ".join(map(short, kubectl.program))
    print(f"""
URL: {status.get("url", "none")}   (inside the cluster: http://{NAME}.default.svc)

Next:
  export KUBECONFIG={short(kubectl.kubeconfig)}
  {program} get dkv,pods,pvc,secrets
  {program} get secret {NAME}-auth -o go-template='{{{{.data.token | base64decode}}}}'     # the token
  {program} port-forward service/{NAME} 8080:80     # then open http://127.0.0.1:8080/ and give it the token

`make down` takes all of it away.""")


def short(path: str | Path) -> str:
    """Returns a path as one types it: with `~` for the home folder."""
    home, text = str(Path.home()), str(path)
    return f"~{text.removeprefix(home)}" if text.startswith(f"{home}/") else text


if __name__ == "__main__":
    sys.exit(main())
