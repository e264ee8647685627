"""The command line: `dumbkv-operator run`, and `render` to see what it would apply."""

import sys
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from dumbkv_operator import render as rendering
from dumbkv_operator.settings import Settings

app = typer.Typer(
    name="dumbkv-operator",
    help="Runs DumbKV servers on Kubernetes from DumbKV resources.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Format(StrEnum):
    """How `render` writes."""

    YAML = "yaml"
    JSON = "json"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("dumbkv-operator"))
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    del show_version


@app.command()
def run() -> None:
    """Run the operator until it is told to stop.

    Its settings are environment variables, DUMBKV_OPERATOR_…; the cluster is the one it runs in, or the
    current one of the kubeconfig.
    """
    # Here, since `render` needs no Kubernetes client and should start at once.
    from dumbkv_operator.run import run as run_operator

    run_operator(_settings())


@app.command()
def render(
    file: Annotated[
        Path,
        typer.Option(
            "--filename", "-f", allow_dash=True, help="A file with DumbKV resources; - reads standard input."
        ),
    ],
    output: Annotated[Format, typer.Option("--output", "-o", help="What to write.")] = Format.YAML,
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Write manifests for a cluster without the operator.")
    ] = False,
    server_image: Annotated[
        str | None, typer.Option(help="The image of resources that name none; else the operator's own.")
    ] = None,
) -> None:
    """Print what the operator would apply for DumbKV resources, without asking a cluster.

    Secrets are left out: what they hold only the cluster knows. Where the resources come from a cluster
    (`kubectl get dumbkv -o yaml | dumbkv-operator render -f -`), the manifests carry their owner. Exits with
    1 where a resource is not valid, or there is none.
    """
    image = server_image or _settings().server_image
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        found = list(rendering.resources(text))
    except (OSError, UnicodeDecodeError, rendering.RenderError) as error:
        raise _failure(f"{file}: {error}") from error
    if not found:
        raise _failure(f"{file}: no DumbKV resource in it")
    rendered = [
        manifest
        for resource in found
        for manifest in rendering.manifests(resource, image, standalone=standalone)
    ]
    write = rendering.to_json if output is Format.JSON else rendering.to_yaml
    typer.echo(write(rendered), nl=False)


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise _failure("settings from the environment are not valid: " + "; ".join(lines)) from error


def _failure(message: str) -> typer.Exit:
    typer.echo(f"dumbkv-operator: {message}", err=True)
    return typer.Exit(code=1)


def main() -> None:
    """Run the command line."""
    app()
