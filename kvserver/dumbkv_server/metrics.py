"""What the process measures about itself: names, counts and times only, never a key, a value or a token."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from . import __version__

# A creation time beside each counter doubles what Prometheus stores, and no query here reads it.
disable_created_metrics()  # type: ignore[no-untyped-call]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Distribution:
    """How often which values were seen, in buckets; counting costs a tenth of what the library's own does."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: list[str]) -> None:
        """Put the buckets, each with all that are below its bound, into a family."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), total))
        family.add_metric(labels, buckets, self._sum)


class Metrics(Collector):
    """The metrics of one application, in a registry of their own; only the event loop's thread counts."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests: dict[tuple[str, str, int], int] = {}
        self._request_durations: dict[tuple[str, ...], Distribution] = {}
        self._commit_duration = Distribution(SECONDS)
        self._commit_batch_size = Distribution(BATCH_SIZES)
        self._write_queue_length = Gauge(
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
        registry.register(self)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request. `method` and `route` come from closed sets."""
        answered = (method, route, status)
        self._requests[answered] = self._requests.get(answered, 0) + 1
        durations = self._request_durations.get((method, route))
        if durations is None:
            durations = self._request_durations[method, route] = Distribution(SECONDS)
        durations.observe(seconds)

    def authentication_failure(self, reason: str) -> None:
        """Count one request that was not let in. `reason` comes from a closed set."""
        self._authentication_failures.labels(reason).inc()

    def commit(self, size: int, seconds: float) -> None:
        """Count one commit of `size` writes."""
        self._commit_batch_size.observe(size)
        self._commit_duration.observe(seconds)

    def watch_write_queue(self, length: Callable[[], float]) -> None:
        """Ask for the length of the write queue whenever the metrics are asked for."""
        self._write_queue_length.set_function(length)

    def collect(self) -> Iterator[Metric]:
        """What was counted here, for the registry."""
        requests = CounterMetricFamily(
            "dumbkv_requests", "Requests answered", labels=["method", "route", "status"]
        )
        for (method, route, status), count in self._requests.items():
            requests.add_metric([method, route, str(status)], count)
        yield requests
        yield _histogram(
            "dumbkv_request_duration_seconds",
            "From a request's headers to the end of its answer",
            self._request_durations,
            ("method", "route"),
        )
        yield _histogram(
            "dumbkv_commit_duration_seconds",
            "Time of one durable commit, which many writes share",
            {(): self._commit_duration},
        )
        yield _histogram("dumbkv_commit_batch_size", "Writes in one commit", {(): self._commit_batch_size})

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def _histogram(
    name: str, text: str, of_labels: Mapping[tuple[str, ...], Distribution], labels: tuple[str, ...] = ()
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, distribution in of_labels.items():
        distribution.add_to(family, list(values))
    return family
