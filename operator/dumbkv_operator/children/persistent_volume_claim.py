"""The PersistentVolumeClaim that holds the SQLite database."""

from dumbkv_operator import names
from dumbkv_operator.children.base import Context, Manifest, metadata
from dumbkv_operator.quantity import canonical
from dumbkv_operator.spec import Resource


def build(resource: Resource, context: Context) -> Manifest | None:
    """Return the claim, or None: PostgreSQL keeps its data elsewhere."""
    del context
    if resource.spec.backend != "sqlite":
        return None
    volume = resource.spec.storage
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(resource, names.claim(resource.name), data=True),
        "spec": {
            "accessModes": list(volume.access_modes),
            "storageClassName": volume.storage_class_name,
            "resources": {"requests": {"storage": canonical(volume.size)}},
        },
    }
