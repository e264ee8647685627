"""A client that minds its own business while others attack the server."""

import secrets
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.support.server import Process

ENOUGH = 20


class Healthy(threading.Thread):
    """Puts and gets, one after the other. `seconds` has the time of each, `failure` what ended it early."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._end = threading.Event()
        self.seconds: list[float] = []
        self.failure: str | None = None

    def run(self) -> None:
        key = f"healthy {secrets.token_hex(8)}"
        with httpx.Client(base_url=self._url, timeout=20) as client:
            # Some after the end: what the attack left behind is met too.
            while not self._end.is_set() or len(self.seconds) < ENOUGH:
                value = str(len(self.seconds))
                started = time.monotonic()
                try:
                    put = client.put("/kv", json={"key": key, "value": value})
                    got = client.post("/kv", json={"key": key})
                except httpx.HTTPError as error:
                    self.failure = repr(error)
                    return
                self.seconds.append(time.monotonic() - started)
                if put.status_code != 200 or got.json().get("value") != value:
                    self.failure = f"{put.status_code} {put.text}, {got.status_code} {got.text}"
                    return

    def finish(self) -> None:
        """Ends it. AssertionError where it was not served all the time."""
        self._end.set()
        self.join()
        assert self.failure is None, f"after {len(self.seconds)} rounds: {self.failure}"
        longest, median = max(self.seconds), statistics.median(self.seconds)
        print(
            f"{len(self.seconds)} rounds beside, median {median * 1e3:.1f} ms, longest {longest * 1e3:.1f} ms"
        )


@contextmanager
def beside(process: Process) -> Iterator[None]:
    """While the block attacks the server, a healthy client is served; afterwards the server is ready."""
    client = Healthy(process.url)
    client.start()
    try:
        yield
    finally:
        client.finish()
    with process.client() as after:
        assert after.get("/readyz").status_code == 200
    assert "unexpected" not in process.log()
    assert "Traceback" not in process.log()
