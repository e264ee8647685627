"""Load on one core, by wrk, and what it measured."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

SERVER_CORE, LOAD_CORE = 0, 1
CONNECTIONS = 32
SCRIPT = Path(__file__).with_name("load.lua")
# In 16 characters, which are also valid base64, as etcd wants it: a key of the same length everywhere.
KEY_PREFIX, KEY_DIGITS = "keys", 12
VALUE = "v" * 100


class LoadError(RuntimeError):
    """The server refused requests or lost connections: its figures would mean nothing."""


@dataclass(frozen=True)
class Call:
    """One kind of request; `{key}` in its path or body is where the key stands."""

    method: str
    path: str
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def halves(self, port: int) -> tuple[str, str]:
        """The request as it goes over the wire, before and after the key's number."""
        body = self.body.replace("{key}", KEY_PREFIX + "0" * KEY_DIGITS)
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Length: {len(body)}"] if body else []
        before, after = ("\r\n".join(lines) + "\r\n\r\n" + self.body).split("{key}")
        return before + KEY_PREFIX, after

    def send(self, port: int, number: int) -> httpx.Response:
        """Send it once for one key; LoadError where it is refused."""
        key = f"{KEY_PREFIX}{number:0{KEY_DIGITS}}"
        url = f"http://127.0.0.1:{port}{self.path.replace('{key}', key)}"
        content = self.body.replace("{key}", key) or None
        answer = httpx.request(self.method, url, headers=dict(self.headers), content=content, timeout=30)
        if not answer.is_success:
            raise LoadError(f"{self.method} {self.path}: {answer.status_code} {answer.text[:200]}")
        return answer


@dataclass(frozen=True)
class Measured:
    """Requests a second, and latencies in milliseconds, of clients that wait for each answer."""

    rate: float
    p50: float
    p99: float


@contextmanager
def core(number: int) -> Iterator[None]:
    """What the block starts runs on one core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run(port: int, call: Call, seconds: float, keys: int) -> Measured:
    """Send requests for random keys; LoadError where one is not answered with success."""
    result = _wrk(port, call, seconds, keys, "random")
    rate = result["requests"] / (result["microseconds"] / 1e6)
    return Measured(rate, result["p50"] / 1000, result["p99"] / 1000)


def fill(port: int, call: Call, keys: int) -> None:
    """Write every key once."""
    done = 0
    while done < keys:
        # As many as there are connections may be under way at the end, and any of them unanswered.
        done += max(0, _wrk(port, call, 1, keys * 2, str(done))["requests"] - CONNECTIONS)


def _wrk(port: int, call: Call, seconds: float, keys: int, order: str) -> dict[str, int]:
    arguments = [*call.halves(port), str(KEY_DIGITS), str(keys), order]
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", str(SCRIPT)]
    command += [f"http://127.0.0.1:{port}", "--", *arguments]
    with core(LOAD_CORE):
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
    if ended.returncode != 0 or not lines:
        raise LoadError(f"wrk failed ({ended.returncode}): {ended.stdout}{ended.stderr}")
    result: dict[str, int] = json.loads(lines[0].removeprefix("RESULT "))
    if result["refused"] or result["lost"] or not result["requests"]:
        raise LoadError(f"{call.method} {call.path}: not all answers are a success: {result}")
    return result
