"""The Service through which clients inside the cluster reach the server."""

from dumbkv_operator import names
from dumbkv_operator.children.base import Context, Manifest, metadata
from dumbkv_operator.spec import Resource


def build(resource: Resource, context: Context) -> Manifest:
    """Return the Service: port 80, named `http`."""
    del context
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(resource, resource.name),
        "spec": {
            "type": "ClusterIP",
            "selector": names.selector(resource.name),
            "ports": [
                {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}
            ],
        },
    }
