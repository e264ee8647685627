"""The components' configuration files. Where a value departs from the default, the reason is beside it."""

import json
from pathlib import Path
from typing import Any

from devcluster import cache
from devcluster.local import cgroups
from devcluster.local.spec import Spec

TOOLS_IMAGE = "dumbkv.example.com/devcluster/tools:1"
PROVISIONER = "rancher.io/local-path"
PROVISIONER_NAME = "local-path-provisioner"
FAKE_NODE_LABEL = "dumbkv.example.com/fake-node=true"
CNI_PROGRAMS = ("/usr/lib/cni", "/opt/cni/bin")

CONTAINERD = """\
version = 2
root = "{root}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "{root}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{tools_image}"
# In a container or a small virtual machine, root may not lower the score: every sandbox would fail with
# 'can't get final child's PID from pipe: EOF'.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni_programs}"
conf_dir = "{cni_configuration}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""

COREFILE = """\
.:53 {{
    bind {address}
    errors
    health {address}:8080
    ready {address}:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
    cache {{
        success 9984 5
        # A Service that has just been made is found after a second, not after half a minute.
        denial 9984 1
    }}
}}
"""


def containerd(spec: Spec, index: int) -> Path:
    """Write containerd's configuration and the pod network's, for a node; returns the first one's path."""
    name = f"node{index}"
    folder = spec.files.configuration / name
    network = _write(folder / "cni" / "10-pods.conflist", _pod_network(spec, index))
    cni_programs = next((path for path in CNI_PROGRAMS if Path(path).is_dir()), CNI_PROGRAMS[0])
    return cache.write(
        folder / "containerd.toml",
        CONTAINERD.format(
            root=spec.files.node(name),
            tools_image=TOOLS_IMAGE,
            cni_programs=cni_programs,
            cni_configuration=network.parent,
        ),
    )


def _pod_network(spec: Spec, index: int) -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                # Point to point, not a bridge: on a bridge the answer of a pod behind a Service to its
                # neighbour would pass by the rules that must translate it back.
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": str(spec.addresses.node_pods(index))}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": "/run/cni",
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def kubelet(spec: Spec, index: int) -> Path:
    """Write the kubelet's configuration for a node; returns its path."""
    name = f"node{index}"
    files = spec.files
    content = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(files.certificates / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(files.certificates / f"{name}-serving.crt"),
        "tlsPrivateKeyFile": str(files.certificates / f"{name}-serving.key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups.path(spec.name, name),
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [str(spec.addresses.dns)],
        "clusterDomain": "cluster.local",
        # The host's own may point into /run, which is not the host's here.
        "resolvConf": "",
        "podLogsDir": str(files.node(name) / "pod-logs"),
        "volumePluginDir": str(files.node(name) / "volume-plugins"),
        # What nobody can pull again must not be collected, and a full disk is the host's affair.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        # A changed Secret reaches its pods within seconds.
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "4s",
        "nodeLeaseDurationSeconds": 10,
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        "maxPods": 200,
    }
    return _write(files.configuration / name / "kubelet.yaml", content)


def kube_proxy(spec: Spec, name: str, node_name: str) -> Path:
    """Write kube-proxy's configuration; returns its path."""
    content = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(spec.files.client("kube-proxy"))},
        "clusterCIDR": str(spec.addresses.pods),
        "hostnameOverride": node_name,
        # The limit is the whole machine's: not ours to change.
        "conntrack": {"maxPerCore": 0},
        "nftables": {"minSyncPeriod": "100ms"},
        "oomScoreAdj": 0,
    }
    return _write(spec.files.configuration / f"{name}.yaml", content)


def coredns(spec: Spec) -> Path:
    """Write CoreDNS' configuration; returns its path."""
    content = COREFILE.format(address=spec.addresses.control_plane, kubeconfig=spec.files.client("coredns"))
    return cache.write(spec.files.configuration / "Corefile", content)


def provisioner(spec: Spec) -> tuple[Path, Path]:
    """Write local-path-provisioner's configuration and its helper pod; returns both paths."""
    spec.files.volumes.mkdir(parents=True, exist_ok=True)
    folder = spec.files.configuration
    content = {"nodePathMap": [], "sharedFileSystemPath": str(spec.files.volumes)}
    return (
        _write(folder / "local-path-provisioner.json", content),
        _write(folder / "helper-pod.yaml", helper_pod()),
    )


def helper_pod() -> dict[str, Any]:
    """The pod in which local-path-provisioner makes and removes a claim's folder."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper-pod"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {"name": "helper-pod", "image": TOOLS_IMAGE, "imagePullPolicy": "IfNotPresent"},
            ],
        },
    }


def _write(path: Path, content: dict[str, Any]) -> Path:
    # JSON is YAML: no emitter is needed for what only programs read.
    return cache.write(path, json.dumps(content, indent=2))
