"""Runs the system's own programs."""

import subprocess
from collections.abc import Sequence

from devcluster.errors import ClusterError


def run(*arguments: str, stdin: str | None = None) -> str:
    """What the program prints; raises ClusterError with its own words where it fails or is missing."""
    try:
        done = subprocess.run(arguments, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ClusterError(
            f"the program {arguments[0]} is missing: install the package it comes in"
        ) from None
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise ClusterError(f"{' '.join(arguments)}: {said or f'exit status {done.returncode}'}")
    return done.stdout


def run_all(commands: Sequence[str]) -> None:
    """Run each line as a command; its words are separated by blanks."""
    for command in commands:
        run(*command.split())
