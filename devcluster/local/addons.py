"""The Kubernetes objects that make a bare cluster useful: its DNS Service and its StorageClass."""

from typing import Any

from devcluster.local.configuration import PROVISIONER, PROVISIONER_NAME
from devcluster.local.spec import Spec

DNS_PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))


def manifests(spec: Spec) -> dict[str, dict[str, Any]]:
    """All of them by their path at the API server, in the order in which they must be applied."""
    system = "/api/v1/namespaces/kube-system"
    account, scripts = _provisioner()
    return {
        f"{system}/services/kube-dns": _dns_service(spec),
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns-control-plane": (
            _dns_endpoints(spec)
        ),
        f"{system}/serviceaccounts/{PROVISIONER_NAME}": account,
        f"{system}/configmaps/{PROVISIONER_NAME}": scripts,
        "/apis/storage.k8s.io/v1/storageclasses/efs": storage_class("efs", default=True),
    }


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


def _provisioner() -> tuple[dict[str, Any], dict[str, Any]]:
    metadata = {"name": PROVISIONER_NAME, "namespace": "kube-system"}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    scripts = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {
            "setup": '#!/bin/sh\nset -eu\nmkdir -m 0777 -p "$VOL_DIR"\n',
            "teardown": '#!/bin/sh\nset -eu\nrm -rf "$VOL_DIR"\n',
        },
    }
    return account, scripts


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
