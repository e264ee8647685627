"""The servers that are measured, each started anew on an empty folder, on one core, and ended by its pid."""

import base64
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.support import postgres

from .load import SERVER_CORE, VALUE, Call, core

ROOT = Path(__file__).resolve().parents[1]
JSON = {"Content-Type": "application/json"}
START_SECONDS = 30
PAIR = json.dumps({"database": 0, "key": "{key}", "value": VALUE})
KEY = json.dumps({"database": 0, "key": "{key}"})


class StartError(RuntimeError):
    """A server did not come up. The message has the end of what it wrote."""


@dataclass(frozen=True)
class Running:
    """A server that takes requests. `pid` is the process that clients talk to."""

    port: int
    pid: int
    put: Call
    get: Call
    # Whether this text, in the answer to a get, proves that the value came back.
    expected: str = VALUE

    def memory(self) -> int:
        """The resident memory of the process, in KiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0])


Contender = Callable[[Path], AbstractContextManager[Running]]


@contextmanager
def dumbkv_sqlite(folder: Path) -> Iterator[Running]:
    """DumbKV as its image starts it, with tokens and a pepper."""
    with _dumbkv(folder, {"DATABASE_LOCATION": str(folder / "dumbkv.db")}) as running:
        yield running


@contextmanager
def dumbkv_postgres(folder: Path) -> Iterator[Running]:
    """DumbKV on a PostgreSQL that flushes its commits, both on the one core."""
    with ExitStack() as stack:
        with core(SERVER_CORE):
            database = stack.enter_context(postgres.running(durable=True))
        settings = {"DATABASE_TYPE": "postgres", "DATABASE_LOCATION": database.uri}
        yield stack.enter_context(_dumbkv(folder, settings))


@contextmanager
def etcd(folder: Path) -> Iterator[Running]:
    """One etcd member, through its JSON gateway."""
    port, peer = _free_port(), _free_port()
    client_url, peer_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    command = ["etcd", "--data-dir", str(folder / "etcd"), "--logger", "zap", "--log-level", "error"]
    command += ["--listen-client-urls", client_url, "--advertise-client-urls", client_url]
    command += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
    command += ["--initial-cluster", f"default={peer_url}"]
    value = base64.b64encode(VALUE.encode()).decode()
    with _process(command, folder, port) as pid:
        put = Call("POST", "/v3/kv/put", json.dumps({"key": "{key}", "value": value}), JSON)
        get = Call("POST", "/v3/kv/range", json.dumps({"key": "{key}"}), JSON)
        yield Running(port, pid, put, get, expected=value)


@contextmanager
def redis(folder: Path) -> Iterator[Running]:
    """Redis that flushes its log before each answer, behind webdis, both on the one core."""
    redis_port, port = _free_port(), _free_port()
    command = ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    configuration = folder / "webdis.json"
    settings = {"redis_host": "127.0.0.1", "redis_port": redis_port, "http_host": "127.0.0.1"}
    settings |= {"http_port": port, "threads": 1, "daemonize": False, "verbosity": 0}
    settings |= {"logfile": str(folder / "webdis.log"), "database": 0}
    configuration.write_text(json.dumps(settings))
    with (
        _process(command, folder, redis_port),
        _process(["webdis", str(configuration)], folder, port) as pid,
    ):
        yield Running(port, pid, Call("PUT", "/SET/{key}", VALUE), Call("GET", "/GET/{key}", ""))


@contextmanager
def plain(folder: Path) -> Iterator[Running]:
    """The plain FastAPI server on SQLite."""
    with _uvicorn("benchmarks.plain:app", folder, {"PLAIN_DATABASE": str(folder / "plain.db")}) as running:
        yield running


@contextmanager
def raw(folder: Path) -> Iterator[Running]:
    """Uvicorn alone."""
    with _uvicorn("benchmarks.raw:app", folder, {}) as running:
        yield running


CONTENDERS: dict[str, Contender] = {
    "dumbkv": dumbkv_sqlite,
    "etcd": etcd,
    "redis": redis,
    "plain": plain,
    "raw": raw,
    "dumbkv-postgres": dumbkv_postgres,
}


@contextmanager
def _dumbkv(folder: Path, settings: Mapping[str, str]) -> Iterator[Running]:
    token, port = secrets.token_urlsafe(32), _free_port()
    tokens, peppers = folder / "tokens", folder / "peppers"
    tokens.write_text(f"bench read,write sha256:{sha256(token.encode()).hexdigest()}\n")
    peppers.write_text(f"1 {secrets.token_hex(32)}\n")
    files = {"DUMBKV_AUTH_TOKENS_FILE": str(tokens), "DUMBKV_PEPPER_FILE": str(peppers)}
    headers = JSON | {"Authorization": f"Bearer {token}"}
    command = production_command(port)
    with _process(command, folder, port, cwd=ROOT / "kvserver", environment={**settings, **files}) as pid:
        yield Running(port, pid, Call("PUT", "/kv", PAIR, headers), Call("POST", "/kv", KEY, headers))


def production_command(port: int) -> list[str]:
    """The command of Dockerfile.server, on a port of 127.0.0.1."""
    text = (ROOT / "Dockerfile.server").read_text().replace("\\\n", "")
    command: list[str] = json.loads(re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)[0])
    command[command.index("--host") + 1] = "127.0.0.1"
    command[command.index("--port") + 1] = str(port)
    return [sys.executable, "-m", *command]


@contextmanager
def _uvicorn(application: str, folder: Path, environment: Mapping[str, str]) -> Iterator[Running]:
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port), "--no-access-log"]
    with _process(command, folder, port, cwd=ROOT, environment=environment) as pid:
        yield Running(port, pid, Call("PUT", "/kv", PAIR, JSON), Call("POST", "/kv", KEY, JSON))


@contextmanager
def _process(
    command: list[str],
    folder: Path,
    port: int,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """A process on the server's core that listens on `port`; it also dies with this one."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("DUMBKV_", "DATABASE_"))
    }
    log_path = folder / f"{Path(command[0]).name}-{port}.log"
    with log_path.open("wb") as log, core(SERVER_CORE):
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd or folder,
            env={**inherited, **(environment or {})},
            start_new_session=True,
        )
    try:
        _wait_for(port, process, log_path)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise StartError(f"{process.args!r} did not start:\n{log_path.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
