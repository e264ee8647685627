"""What the operator says of its own health: to the kubelet, which restarts it, and to Prometheus."""

from typing import Final

from prometheus_client import disable_created_metrics, start_http_server

from dumbkv_operator import metrics
from dumbkv_operator.queue import Queue

STUCK_SECONDS: Final = 300.0
"""How long a resource may wait for a worker before the operator counts as stuck: each request ends in 30."""


class StuckError(Exception):
    """The operator is alive but gets nothing done."""


def check(queue: Queue, *, leading: bool) -> str:
    """Return a word on the operator's health; a standby's queue may wait as long as it likes.

    Raises StuckError where resources wait and none is taken up.
    """
    if leading and queue.oldest_seconds > STUCK_SECONDS:
        raise StuckError(f"a resource has waited {queue.oldest_seconds:.0f} s for a worker")
    return "leading" if leading else "standing by"


def serve_metrics(port: int, queue: Queue) -> None:
    """Serve /metrics on `port` from a thread of its own."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    metrics.QUEUE_LENGTH.set_function(lambda: len(queue))
    metrics.QUEUE_OLDEST.set_function(lambda: queue.oldest_seconds)
    if port:
        start_http_server(port)
