"""`python -m devcluster`: how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "devcluster", *arguments]
    repository = Path(__file__).parents[3]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)


def test_the_status_of_a_cluster_that_does_not_run_is_an_error() -> None:
    ended = run("status", "--provider", "local", "--name", "nosuch")
    assert ended.returncode == 1
    assert "does not run" in ended.stdout


@pytest.mark.parametrize("arguments", [("upp",), ("up", "--nodes", "many"), ("up", "--provider", "cloud")])
def test_a_wrong_argument_is_told_in_one_line(arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert ended.returncode in (1, 2)
    assert ended.stderr.startswith("error: ")
    assert len(ended.stderr.splitlines()) == 1
