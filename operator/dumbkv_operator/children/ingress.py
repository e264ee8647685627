"""The Ingress through which clients outside the cluster reach the server."""

from dumbkv_operator import names
from dumbkv_operator.children.base import Context, Manifest, metadata
from dumbkv_operator.spec import Resource


def build(resource: Resource, context: Context) -> Manifest | None:
    """Return the Ingress, or None: it is not wanted, or a Gateway does its work."""
    del context
    ingress = resource.spec.ingress
    if not ingress.enabled or resource.spec.gateway is not None:
        return None
    annotations = dict(ingress.annotations)
    if ingress.cluster_issuer:
        annotations.setdefault(names.ANNOTATION_CLUSTER_ISSUER, ingress.cluster_issuer)
    backend = {"service": {"name": resource.name, "port": {"name": "http"}}}
    spec: Manifest = {
        "rules": [
            {
                "host": ingress.host,
                "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
            }
        ],
        "tls": [{"hosts": [ingress.host], "secretName": names.tls_secret(resource.name)}],
    }
    if ingress.class_name:
        spec["ingressClassName"] = ingress.class_name
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(resource, resource.name, annotations=annotations),
        "spec": spec,
    }
