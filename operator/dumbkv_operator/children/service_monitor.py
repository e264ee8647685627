"""The ServiceMonitor by which prometheus-operator finds the server's metrics."""

from dumbkv_operator import names
from dumbkv_operator.children.base import Context, Manifest, metadata
from dumbkv_operator.spec import Resource


def build(resource: Resource, context: Context) -> Manifest | None:
    """Return the ServiceMonitor, or None: it is not wanted."""
    del context
    monitoring = resource.spec.monitoring
    if not monitoring.enabled:
        return None
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": metadata(resource, resource.name, labels=monitoring.labels),
        "spec": {
            "selector": {"matchLabels": names.selector(resource.name)},
            "endpoints": [{"port": "http", "path": "/metrics", "interval": monitoring.interval}],
        },
    }
