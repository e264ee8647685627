"""Every label, annotation and derived name that the operator puts on an object."""

from typing import Final

GROUP: Final = "dumbkv.example.com"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "DumbKV"
PLURAL: Final = "dumbkvs"

FIELD_MANAGER: Final = "dumbkv-operator"
"""Who server-side apply records as the owner of the fields that the operator sets."""

LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_PART_OF: Final = "app.kubernetes.io/part-of"

LABEL_OWNER: Final = f"{GROUP}/owner-name"
"""On data, which may outlive its resource: the name of the DumbKV that may adopt it."""

ANNOTATION_HASH: Final = f"{GROUP}/desired-hash"
"""On each child: the hash of the manifest that was last applied."""

ANNOTATION_CLUSTER_ISSUER: Final = "cert-manager.io/cluster-issuer"

MANAGED_SELECTOR: Final = f"{LABEL_MANAGED_BY}={FIELD_MANAGER}"
"""The label selector of everything that the operator made."""


def claim(name: str) -> str:
    """Return the name of the PersistentVolumeClaim that holds the SQLite database of `name`."""
    return f"{name}-data"


def auth_secret(name: str) -> str:
    """Return the name of the generated Secret with the bearer tokens of `name`."""
    return f"{name}-auth"


def pepper_secret(name: str) -> str:
    """Return the name of the generated Secret with the peppers of `name`."""
    return f"{name}-pepper"


def binding_secret(name: str) -> str:
    """Return the name of the Secret that tells an application how to reach `name`."""
    return f"{name}-binding"


def tls_secret(name: str) -> str:
    """Return the name of the Secret with the certificate that the Ingress of `name` serves."""
    return f"{name}-tls"


def selector(name: str) -> dict[str, str]:
    """Return the labels that select the pods of `name`. They can never change: selectors are immutable."""
    return {LABEL_NAME: "dumbkv", LABEL_INSTANCE: name}


def labels(name: str) -> dict[str, str]:
    """Return the labels of every child of `name`."""
    return {
        **selector(name),
        LABEL_COMPONENT: "server",
        LABEL_MANAGED_BY: FIELD_MANAGER,
        LABEL_PART_OF: "dumbkv",
    }
