"""How long a DumbKV takes to serve, against plain `kubectl apply` of the same children.

Both are applied in turn on one warm cluster, each in a namespace of its own, and timed from the start of
`kubectl apply` to the return of `kubectl wait`: for the Deployment's Available, and for the resource's Ready.
What is left of the ratio above 1 is what the operator adds.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from devcluster import images, provider
from devcluster.console import step
from devcluster.demo import install
from devcluster.kubectl import Kubectl
from dumbkv_operator import children
from dumbkv_operator.material import new_auth, new_peppers
from dumbkv_operator.settings import Settings
from dumbkv_operator.spec import parse

NAME = "timed"


def main(
    runs: Annotated[int, typer.Option(help="pairs that are counted, after one that is not")] = 5,
    cluster: Annotated[str, typer.Option("--provider", help="current, kind, local or auto")] = "auto",
) -> None:
    """Prints the seconds to Available of plain manifests and to Ready of a DumbKV, and their ratio."""
    chosen = provider.choose(cluster, cluster="bench")
    archives = images.build("server", "operator")
    try:
        chosen.up()
        for archive in archives.values():
            chosen.load(archive)
        kubectl = chosen.kubectl()
        install(kubectl)
        pairs: list[tuple[float, float]] = []
        for number in range(runs + 1):
            # Most of it is the end of the namespaces.
            with step(f"pair {number} of {runs}" if number else "one pair that does not count"):
                pairs.append((timed(kubectl, apply_plain), timed(kubectl, apply_resource)))
    finally:
        chosen.down()
    show(pairs[1:])


def timed(kubectl: Kubectl, apply: Callable[[Kubectl], None]) -> float:
    """Returns the seconds that `apply` takes in a fresh namespace."""
    with namespace(kubectl) as fresh:
        began = time.monotonic()
        apply(fresh)
        return time.monotonic() - began


@contextmanager
def namespace(kubectl: Kubectl) -> Iterator[Kubectl]:
    """Gives kubectl within a namespace that ends, whole, with the block."""
    name = f"bench-{time.monotonic_ns()}"
    kubectl("create", "namespace", name)
    # The service account controller fills a new namespace: a pod cannot be made before.
    fresh = kubectl.within(name)
    while not fresh.find("serviceaccount", "default"):
        time.sleep(0.05)
    try:
        yield fresh
    finally:
        kubectl("delete", "namespace", name, "--wait=true", "--timeout=90s")


def apply_plain(kubectl: Kubectl) -> None:
    """Applies the children themselves and waits for the Deployment."""
    context = children.Context(
        server_image=Settings().server_image, auth=new_auth(), peppers=new_peppers(), database_uri=None
    )
    placed = resource()
    placed["metadata"]["namespace"] = kubectl.namespace
    manifests = [each for each in children.desired(parse(placed), context).values() if each]
    for manifest in manifests:
        manifest["metadata"].pop("ownerReferences", None)
    kubectl.apply(*manifests)
    kubectl("wait", f"deployment/{NAME}", "--for=condition=Available", "--timeout=60s")


def apply_resource(kubectl: Kubectl) -> None:
    """Applies the resource and waits for it."""
    kubectl.apply(resource())
    kubectl("wait", f"dumbkv/{NAME}", "--for=condition=Ready", "--timeout=60s")


def resource() -> dict[str, Any]:
    """Returns the resource that both ways are about."""
    return {
        "apiVersion": "dumbkv.example.com/v1alpha1",
        "kind": "DumbKV",
        "metadata": {"name": NAME},
        "spec": {"ingress": {"host": "timed.example.com"}, "monitoring": {"enabled": False}},
    }


def show(pairs: list[tuple[float, float]]) -> None:
    """Prints minimum, median and maximum of both and of their ratio, taken pair by pair."""
    table = Table("", "min", "median", "max", title=f"seconds from apply to serving, {len(pairs)} pairs")
    rows = {
        "plain manifests, Available": [plain for plain, _ in pairs],
        "DumbKV, Ready": [operated for _, operated in pairs],
        "ratio": [operated / plain for plain, operated in pairs],
    }
    for name, values in rows.items():
        figures = (min(values), statistics.median(values), max(values))
        table.add_row(name, *(f"{figure:.2f}" for figure in figures))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
