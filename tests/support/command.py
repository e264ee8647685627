"""The `dumbkv` command in a process of its own, as a user starts it."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("dumbkv")


def environment(**given: str) -> dict[str, str]:
    """This process' environment without the command's settings, and with those that are given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DUMBKV_")}
    return inherited | given


def dumbkv(*arguments: str, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end with `given` as its input, through a pipe."""
    return subprocess.run(
        [PROGRAM, *arguments],
        env=environment(**settings),
        input=given,
        capture_output=True,
        text=True,
        timeout=100,
    )


def start(*arguments: str, **settings: str) -> subprocess.Popen[bytes]:
    """Start the command with pipes to and from it."""
    return subprocess.Popen(
        [PROGRAM, *arguments],
        env=environment(**settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
