"""The Kubernetes objects that make a bare cluster useful: its DNS Service and its StorageClass."""

from typing import Any

from devcluster.local.configuration import PROVISIONER, PROVISIONER_NAME, STORAGE_NAMESPACE
from devcluster.local.spec import Spec

DNS_PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))


def manifests(spec: Spec) -> list[dict[str, Any]]:
    """All of them, in the order in which they must be applied."""
    return [_dns_service(spec), _dns_endpoints(spec), *_storage()]


def _dns_service(spec: Spec) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {
            # CoreDNS is a process of the control plane, not a pod: nothing to select.
            "clusterIP": str(spec.addresses.dns),
            "ports": [{"name": name, "protocol": protocol, "port": 53} for name, protocol in DNS_PORTS],
        },
    }


def _dns_endpoints(spec: Spec) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-control-plane",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "ports": [{"name": name, "protocol": protocol, "port": 53} for name, protocol in DNS_PORTS],
        "endpoints": [
            {"addresses": [str(spec.addresses.control_plane)], "conditions": {"ready": True}},
        ],
    }


def _storage() -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": PROVISIONER_NAME, "namespace": STORAGE_NAMESPACE},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": PROVISIONER_NAME, "namespace": STORAGE_NAMESPACE},
            "data": {
                "setup": '#!/bin/sh\nset -eu\nmkdir -m 0777 -p "$VOL_DIR"\n',
                "teardown": '#!/bin/sh\nset -eu\nrm -rf "$VOL_DIR"\n',
            },
        },
        storage_class("efs", default=True),
    ]


def storage_class(name: str, *, default: bool, provisioner: str = PROVISIONER) -> dict[str, Any]:
    """A StorageClass served by local-path-provisioner; bound at once, as EFS binds."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": str(default).lower()},
        },
        "provisioner": provisioner,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }
