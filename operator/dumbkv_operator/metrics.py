"""The operator's metrics, as Prometheus reads them."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

RECONCILES: Final = Counter(
    "dumbkv_operator_reconcile_total", "Reconciles by result: success or error.", ["result"]
)
RECONCILE_DURATION: Final = Histogram(
    "dumbkv_operator_reconcile_duration_seconds", "How long one reconcile takes.", buckets=SECONDS
)
QUEUE_LENGTH: Final = Gauge("dumbkv_operator_queue_length", "Resources that wait for a reconcile now.")
QUEUE_OLDEST: Final = Gauge(
    "dumbkv_operator_queue_oldest_seconds", "How long the oldest of the waiting resources has waited."
)
CONDITION: Final = Gauge(
    "dumbkv_operator_resource_condition",
    "1 for the status that a resource's condition has now.",
    ["namespace", "name", "type", "status"],
)
TIME_TO_READY: Final = Histogram(
    "dumbkv_operator_time_to_ready_seconds",
    "From a resource's creation, or from the loss of its readiness, until it is ready.",
    buckets=(1, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600),
)
WRITES: Final = Counter("dumbkv_operator_writes_total", "Writes to the API server.", ["kind", "operation"])
REQUESTS: Final = Counter(
    "dumbkv_operator_api_requests_total", "Requests to the API server.", ["kind", "operation"]
)
DRIFT_CORRECTED: Final = Counter(
    "dumbkv_operator_drift_corrected_total", "Children that somebody changed or deleted, repaired.", ["kind"]
)
LEADER: Final = Gauge("dumbkv_operator_leader", "1 while this operator holds the Lease.")
WATCH_RESTARTS: Final = Counter(
    "dumbkv_operator_watch_restarts_total", "Watches that had to be started again after an error.", ["kind"]
)

STATUSES: Final = ("True", "False", "Unknown")


def record_condition(namespace: str, name: str, kind: str, status: str) -> None:
    """Record that the condition `kind` of a resource has `status` now."""
    for each in STATUSES:
        CONDITION.labels(namespace, name, kind, each).set(1 if each == status else 0)


def forget_condition(namespace: str, name: str, kind: str) -> None:
    """Drop the series of one condition of a resource: it, or the whole resource, is gone."""
    for status in STATUSES:
        CONDITION.remove(namespace, name, kind, status)
