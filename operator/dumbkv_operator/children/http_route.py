"""The HTTPRoute that a Gateway serves instead of an Ingress."""

from dumbkv_operator.children.base import Context, Manifest, metadata
from dumbkv_operator.spec import ParentReference, Resource


def build(resource: Resource, context: Context) -> Manifest | None:
    """Return the HTTPRoute, or None: no Gateway is named."""
    del context
    gateway = resource.spec.gateway
    if gateway is None:
        return None
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(resource, resource.name),
        "spec": {
            "parentRefs": [_parent(gateway.parent_ref)],
            "hostnames": [resource.spec.ingress.host],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "backendRefs": [{"name": resource.name, "port": 80}],
                }
            ],
        },
    }


def _parent(parent: ParentReference) -> Manifest:
    optional = {"namespace": parent.namespace, "sectionName": parent.section_name, "port": parent.port}
    return {"name": parent.name} | {key: value for key, value in optional.items() if value is not None}
