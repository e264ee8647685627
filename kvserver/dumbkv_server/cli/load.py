"""A small load on a running server: so many clients, each with one request at a time, for so many seconds."""

import asyncio
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from .api import Api, Session
from .wire import Connection, WireError

# Where the process cannot delete its keys any more, they go by themselves.
LEFT_SECONDS: Final = 600
KEYS_AT_ONCE: Final = 500
BYTES_AT_ONCE: Final = 1024 * 1024
REQUEST_SECONDS: Final = 30
TICK_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Load:
    """What is asked for: `reads` in percent of all requests, `value_bytes` of ASCII in each value."""

    seconds: float
    clients: int
    keys: int
    value_bytes: int
    reads: int
    database: int


@dataclass
class Measured:
    """How requests of one kind went: the seconds of those that were answered, and the errors by name."""

    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def percentile(self, percent: float) -> float | None:
        """The time within which so many of them were answered, in milliseconds; None where none was."""
        if not self.seconds:
            return None
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000


class Run:
    """One run against one server. Its keys are its own, and gone after `finished`."""

    def __init__(self, server: Api, load: Load) -> None:
        self._server = server
        self._load = load
        prefix = f"bench-{secrets.token_hex(8)}-"
        self._keys = [f"{prefix}{number}" for number in range(load.keys)]
        self._value = "v" * load.value_bytes
        self._clients: list[asyncio.Task[None]] = []
        self.reads = Measured()
        self.writes = Measured()
        self.elapsed = 0.0

    @property
    def requests(self) -> int:
        """How many were answered, or failed, so far."""
        return sum(len(kind.seconds) + kind.errors.total() for kind in (self.reads, self.writes))

    def prepare(self) -> None:
        """Store every key, so that each read finds one. CommandError where the server does not take them."""
        if self._load.reads:
            for keys in self._groups(BYTES_AT_ONCE // (self._load.value_bytes + 100) or 1):
                operations = [{"op": "put", **self._put(key)} for key in keys]
                self._server.send("POST", "/kv/batch", {"operations": operations})

    def finish(self) -> None:
        """Delete every key."""
        with self._server.session() as session:
            for keys in self._groups(KEYS_AT_ONCE):
                self._delete(session, keys)

    async def measure(self, on_tick: Callable[[float], None]) -> None:
        """Send requests until the time is over or this is cancelled. `on_tick` gets the seconds so far."""
        started = time.perf_counter()
        clients = [asyncio.create_task(self._client()) for _ in range(self._load.clients)]
        try:
            while (elapsed := time.perf_counter() - started) < self._load.seconds:
                on_tick(elapsed)
                await asyncio.wait(
                    clients,
                    timeout=min(TICK_SECONDS, self._load.seconds - elapsed),
                    return_when=asyncio.FIRST_EXCEPTION,
                )
                for client in clients:
                    if client.done():
                        client.result()
        finally:
            self.elapsed = time.perf_counter() - started
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

    async def _client(self) -> None:
        connection = Connection(self._server.url, self._server.token, REQUEST_SECONDS)
        choose = random.Random()  # noqa: S311 - no secret comes of it
        try:
            while True:
                key = choose.choice(self._keys)
                if choose.randrange(100) < self._load.reads:
                    body = {"database": self._load.database, "key": key}
                    await self._one(connection, self.reads, "POST", body)
                else:
                    await self._one(connection, self.writes, "PUT", self._put(key))
        finally:
            connection.close()

    async def _one(self, connection: Connection, kind: Measured, method: str, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        started = time.perf_counter()
        try:
            status, answer = await connection.request(method, "/kv", content)
        except WireError as error:
            kind.errors[str(error)] += 1
            # What cannot connect would otherwise do nothing but try.
            await asyncio.sleep(TICK_SECONDS)
            return
        if status == 200:
            kind.seconds.append(time.perf_counter() - started)
        else:
            kind.errors[_name(status, answer)] += 1

    def _put(self, key: str) -> dict[str, Any]:
        return {
            "database": self._load.database,
            "key": key,
            "value": self._value,
            "ttl": self._load.seconds + LEFT_SECONDS,
        }

    def _delete(self, session: Session, keys: list[str]) -> None:
        operations = [{"op": "delete", "database": self._load.database, "key": key} for key in keys]
        session.send("POST", "/kv/batch", {"operations": operations})

    def _groups(self, size: int) -> Iterator[list[str]]:
        size = min(size, KEYS_AT_ONCE)
        for start in range(0, len(self._keys), size):
            yield self._keys[start : start + size]


def _name(status: int, answer: bytes) -> str:
    """The code of a problem, else its status."""
    try:
        code = json.loads(answer)["code"]
    except (ValueError, KeyError, TypeError):
        return str(status)
    return str(code)[:40]
