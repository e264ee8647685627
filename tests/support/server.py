"""The real server: `uvicorn main:api` in a process of its own on a free port of 127.0.0.1."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

DIRECTORY = Path(__file__).resolve().parents[2] / "kvserver"
LISTENING = re.compile(r"running on http://127\.0\.0\.1:(\d+)")
START_SECONDS = 60
BYTECODE = Path(tempfile.gettempdir()) / f"dumbkv-bytecode-{os.geteuid()}"
Environment = dict[str, str]


class StartError(RuntimeError):
    """The process ended before it served. `code` is its exit code, `log` all that it wrote."""

    def __init__(self, code: int, log: str) -> None:
        super().__init__(f"exit code {code}:\n{log}")
        self.code = code
        self.log = log


@dataclass
class Process:
    """A serving process. `log_path` collects all that it writes to either stream."""

    popen: subprocess.Popen[bytes]
    url: str
    log_path: Path

    def client(self, token: str | None = None) -> httpx.Client:
        """A client of this process; with a token, it sends it."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def log(self) -> str:
        return self.log_path.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end: the exit code, negative for a signal that killed it."""
        self.popen.send_signal(number)
        return self.popen.wait(60)


@contextmanager
def running(log_path: Path, environment: Mapping[str, str]) -> Iterator[Process]:
    """A server with these settings and no others; StartError where it does not come up."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DUMBKV_", "DATABASE_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    # Without compiled modules each start takes two seconds of the processor, and tests start dozens.
    inherited["PYTHONPYCACHEPREFIX"] = str(BYTECODE)
    with log_path.open("wb") as log:
        popen = subprocess.Popen(
            [sys.executable, "-m", *_command()],
            cwd=DIRECTORY,
            env={**inherited, **environment},
            stdout=log,
            stderr=log,
        )
    try:
        yield Process(popen, f"http://127.0.0.1:{_port(popen, log_path)}", log_path)
    finally:
        popen.kill()
        popen.wait()


def _command() -> list[str]:
    """The image's own command, on a free port of this machine's own address."""
    text = (DIRECTORY.parent / "Dockerfile.server").read_text().replace("\\\n", "")
    command: list[str] = json.loads(text.rpartition("\nCMD ")[2])
    command[command.index("--host") + 1] = "127.0.0.1"
    command[command.index("--port") + 1] = "0"
    return command


def _port(popen: subprocess.Popen[bytes], log_path: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := LISTENING.search(log_path.read_text()):
            return found[1]
        if popen.poll() is not None:
            raise StartError(popen.returncode, log_path.read_text())
        time.sleep(0.02)
    raise StartError(0, f"no port after {START_SECONDS} s:\n{log_path.read_text()}")
