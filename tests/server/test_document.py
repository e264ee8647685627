"""The server does what its OpenAPI document says, for whatever schemathesis makes of that document."""

import os
import subprocess
import sys

import pytest

from tests.support.server import DIRECTORY, Process

SEED = "1"


@pytest.mark.slow
def test_schemathesis_finds_nothing(shared: Process) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{shared.url}/openapi.json"]
    command += ["--max-examples", "60", "--seed", SEED, "--no-color"]
    hooks = os.environ | {"SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks", "PYTHONPATH": "."}
    done = subprocess.run(
        command, cwd=DIRECTORY.parent, env=hooks, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unexpected" not in shared.log()
