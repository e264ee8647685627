"""The children of a DumbKV resource: one module a kind, each a pure function to a manifest or None."""

from typing import Final

from dumbkv_operator import names
from dumbkv_operator.children import (
    deployment,
    http_route,
    ingress,
    network_policy,
    persistent_volume_claim,
    secret,
    service,
    service_monitor,
)
from dumbkv_operator.children.base import AuthMaterial, Child, Context, Manifest, same_name
from dumbkv_operator.spec import Resource

__all__ = [
    "AUTH_SECRET",
    "BINDING_SECRET",
    "CHILDREN",
    "CLAIM",
    "DEPLOYMENT",
    "HTTP_ROUTE",
    "INGRESS",
    "NETWORK_POLICY",
    "PEPPER_SECRET",
    "SERVICE",
    "SERVICE_MONITOR",
    "AuthMaterial",
    "Child",
    "Context",
    "Manifest",
    "desired",
]

PEPPER_SECRET: Final = Child(
    "Secret", "v1", "secrets", secret.build_pepper, names.pepper_secret, retained=True
)
AUTH_SECRET: Final = Child(
    "Secret", "v1", "secrets", secret.build_auth, names.auth_secret, retained=True, optional=True
)
BINDING_SECRET: Final = Child("Secret", "v1", "secrets", secret.build_binding, names.binding_secret)
CLAIM: Final = Child(
    "PersistentVolumeClaim",
    "v1",
    "persistentvolumeclaims",
    persistent_volume_claim.build,
    names.claim,
    retained=True,
    optional=True,
)
DEPLOYMENT: Final = Child("Deployment", "apps/v1", "deployments", deployment.build, same_name)
SERVICE: Final = Child("Service", "v1", "services", service.build, same_name)
NETWORK_POLICY: Final = Child(
    "NetworkPolicy", "networking.k8s.io/v1", "networkpolicies", network_policy.build, same_name, optional=True
)
INGRESS: Final = Child(
    "Ingress", "networking.k8s.io/v1", "ingresses", ingress.build, same_name, optional=True
)
HTTP_ROUTE: Final = Child(
    "HTTPRoute", "gateway.networking.k8s.io/v1", "httproutes", http_route.build, same_name, optional=True
)
SERVICE_MONITOR: Final = Child(
    "ServiceMonitor",
    "monitoring.coreos.com/v1",
    "servicemonitors",
    service_monitor.build,
    same_name,
    optional=True,
)

CHILDREN: Final = (
    # What the pod mounts and what guards it comes before the pod.
    PEPPER_SECRET,
    AUTH_SECRET,
    CLAIM,
    NETWORK_POLICY,
    DEPLOYMENT,
    SERVICE,
    BINDING_SECRET,
    INGRESS,
    HTTP_ROUTE,
    SERVICE_MONITOR,
)
"""Every kind of child in the order in which they are applied."""


def desired(resource: Resource, context: Context) -> dict[Child, Manifest | None]:
    """Return each child's manifest, in order of application; None where `resource` does not want it."""
    return {child: child.build(resource, context) for child in CHILDREN}
