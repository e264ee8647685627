"""What the process measures about itself: names, counts and times only, never a key, a value or a token."""

from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from . import __version__

# A creation time beside each counter doubles what Prometheus stores, and no query here reads it.
disable_created_metrics()  # type: ignore[no-untyped-call]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "dumbkv_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self._request_duration = Histogram(
            "dumbkv_request_duration_seconds",
            "From a request's headers to the end of its answer",
            ["method", "route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.commit_duration = Histogram(
            "dumbkv_commit_duration_seconds",
            "Time of one durable commit, which many writes share",
            buckets=SECONDS,
            registry=registry,
        )
        self.commit_batch_size = Histogram(
            "dumbkv_commit_batch_size", "Writes in one commit", buckets=BATCH_SIZES, registry=registry
        )
        self.write_queue_length = Gauge(
            "dumbkv_write_queue_length", "Writes that wait for the next commit", registry=registry
        )
        self.database_up = Gauge(
            "dumbkv_database_up", "Whether the database answered last time", registry=registry
        )
        self.damaged_values = Counter(
            "dumbkv_damaged_values",
            "Answers refused because a stored value is not what was stored",
            registry=registry,
        )
        self._authentication_failures = Counter(
            "dumbkv_authentication_failures", "Requests without a known token", ["reason"], registry=registry
        )
        Info("dumbkv_build", "The running version", registry=registry).info({"version": __version__})
        # The children of a label set are looked up once: that lookup costs more than the counting.
        self._requests_of = cache(self._requests.labels)
        self._duration_of = cache(self._request_duration.labels)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request. `method` and `route` come from closed sets."""
        self._requests_of(method, route, status).inc()
        self._duration_of(method, route).observe(seconds)

    def authentication_failure(self, reason: str) -> None:
        """Count one request that was not let in. `reason` comes from a closed set."""
        self._authentication_failures.labels(reason).inc()

    def commit(self, size: int, seconds: float) -> None:
        """Count one commit of `size` writes."""
        self.commit_batch_size.observe(size)
        self.commit_duration.observe(seconds)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
