"""The command line: `python -m devcluster`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from typer.exceptions import TyperException

from devcluster import images, provider
from devcluster.console import console, note, step
from devcluster.errors import ClusterError
from devcluster.kubectl import KubectlError
from devcluster.local import LocalCluster, fake_nodes, outages, packages, programs
from devcluster.local.spec import Files

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="A Kubernetes cluster for `make run` and the tests: kind's, or one on this machine without Docker.",
)
node_app = typer.Typer(no_args_is_help=True, help="Kill a node of the local cluster, or cut it off.")
app.add_typer(node_app, name="node")

PROVIDER_HELP = (
    "current, kind or local. By default $DUMBKV_CLUSTER, else kind where kind and a Docker daemon answer, "
    "else local. `current` installs into whatever your kubeconfig's current context is, so it is only ever "
    "taken when you name it, here or in DUMBKV_CLUSTER."
)
Name = Annotated[str, typer.Option("--name", help="The cluster's name; several can run side by side.")]
Choice = Annotated[str | None, typer.Option("--provider", help=PROVIDER_HELP, show_default=False)]
DEFAULT_NAME = "dumbkv"


@app.command()
def up(
    name: Name = DEFAULT_NAME,
    choice: Choice = None,
    nodes: Annotated[int | None, typer.Option(help="How many nodes at least; by default 1.")] = None,
    api_only: Annotated[
        bool, typer.Option("--api-only", help="Only etcd, API server and controller manager.")
    ] = False,
) -> None:
    """Have the cluster running; one that runs is kept, and grows where more is asked for."""
    cluster = provider.choose(choice, name, nodes=nodes, api_only=api_only)
    cluster.up()
    note(f"ready: export KUBECONFIG={cluster.kubeconfig()}")


@app.command()
def down(name: Name = DEFAULT_NAME, choice: Choice = None) -> None:
    """Take the cluster away with all that it left on this machine."""
    for cluster in provider.candidates(choice, name):
        cluster.down()


@app.command()
def status(name: Name = DEFAULT_NAME, choice: Choice = None) -> None:
    """Show what the cluster is now; exit code 1 where it does not run."""
    found = provider.choose(choice, name).status()
    table = Table("PART", "STATE", box=None, header_style="")
    for node, ready in found.nodes.items():
        table.add_row(f"node {node}", "Ready" if ready else "NotReady")
    for component, state in found.components.items():
        table.add_row(component, state)
    print(f"{found.provider} cluster {found.name}: {'runs' if found.running else 'does not run'}")
    console.print(table)
    raise typer.Exit(0 if found.running else 1)


@app.command()
def kubeconfig(name: Name = DEFAULT_NAME, choice: Choice = None) -> None:
    """Print the path of the cluster's kubeconfig."""
    print(provider.choose(choice, name).kubeconfig())


@app.command()
def load(
    archives: Annotated[list[str], typer.Argument(metavar="ARCHIVE|IMAGE…")],
    name: Name = DEFAULT_NAME,
    choice: Choice = None,
) -> None:
    """Give the cluster images: docker-archive files, or images of this repository by their short names."""
    cluster = provider.choose(choice, name)
    for given in archives:
        files = [Path(given)] if Path(given).is_file() else list(images.build(given).values())
        for file in files:
            with step(f"Load {file.name}"):
                cluster.load(file)


@app.command("images")
def build_images(names: Annotated[list[str], typer.Argument(metavar="IMAGE…")]) -> None:
    """Build images of this repository; prints each one's archive."""
    for archive in images.build(*names).values():
        print(archive)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def kubectl(context: typer.Context) -> None:
    """Run the cluster's kubectl (for another cluster than the default: $DUMBKV_CLUSTER_NAME)."""
    cluster = provider.choose(None, os.environ.get("DUMBKV_CLUSTER_NAME", DEFAULT_NAME))
    raise typer.Exit(subprocess.run(cluster.kubectl().command(*context.args), check=False).returncode)


@app.command()
def logs(component: Annotated[str | None, typer.Argument()] = None, name: Name = DEFAULT_NAME) -> None:
    """Print the log of a component of the local cluster (`node1.kubelet`); without one, list them."""
    folder = Files(name).log("any").parent
    known = sorted(path.stem for path in folder.glob("*.log"))
    if component is None:
        print("\n".join(known))
    elif component in known:
        sys.stdout.write(Files(name).log(component).read_text(errors="replace"))
    else:
        raise ClusterError(f"there is no log of {component!r}: there is {', '.join(known) or 'no cluster'}")


@app.command("fake-nodes")
def make_fake_nodes(count: int, name: Name = DEFAULT_NAME) -> None:
    """Give the local cluster this many nodes that only pretend to run pods (kwok), for scale tests."""
    fake_nodes.make(name, count)


@app.command("packages")
def install_packages(groups: Annotated[list[str], typer.Argument(metavar="cluster|images|tests…")]) -> None:
    """Install the Debian packages that the cluster, the images or the tests need."""
    for group in groups:
        if group not in packages.GROUPS:
            raise ClusterError(f"there is no group {group!r}: give {', '.join(packages.GROUPS)}")
        packages.ensure(packages.GROUPS[group])


@app.command("programs")
def make_programs() -> None:
    """Have the local cluster's programs in the cache: downloaded, or compiled (minutes, once)."""
    programs.ensure(*programs.PROGRAMS)


@node_app.command("kill")
def kill_node(node: str, name: Name = DEFAULT_NAME) -> None:
    """End the node at once, as a power cut would; `rejoin` starts it again."""
    outages.kill(LocalCluster(name).files, node)


@node_app.command("isolate")
def isolate_node(node: str, name: Name = DEFAULT_NAME) -> None:
    """Cut the node off from the network; what runs on it goes on. `rejoin` ends it."""
    outages.isolate(LocalCluster(name).files, node)


@node_app.command("rejoin")
def rejoin_node(node: str, name: Name = DEFAULT_NAME) -> None:
    """Bring a killed or isolated node back."""
    outages.rejoin(LocalCluster(name).files, node)


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        return app(standalone_mode=False) or 0
    except TyperException as error:
        console.print(f"[red]error:[/red] {error} (see --help)", highlight=False, soft_wrap=True)
        return 2
    except (ClusterError, KubectlError) as error:
        console.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        if tail := error.tail:
            console.print(f"--- the end of {error.log}:\n{tail}", markup=False, soft_wrap=True)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        note("interrupted: the same command again goes on, `down` takes everything away")
        return 130


if __name__ == "__main__":
    sys.exit(main())
