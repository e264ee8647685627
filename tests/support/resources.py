"""DumbKV resources for tests: valid ones, and one for each rule that a resource can break."""

from typing import Any

Body = dict[str, Any]


def body(spec: Any = None, *, name: str = "store", **metadata: Any) -> Body:
    """Return a DumbKV as a user writes it; without `spec` it has none."""
    written: Body = {
        "apiVersion": "dumbkv.example.com/v1alpha1",
        "kind": "DumbKV",
        "metadata": {"name": name, **metadata},
    }
    if spec is not None:
        written["spec"] = spec
    return written


def postgres(**fields: Any) -> Body:
    """Return a valid spec with backend postgres, with `fields` besides."""
    return {"backend": "postgres", "postgres": {"secretRef": {"name": "database"}}, **fields}


EVERYTHING: Body = {
    "backend": "sqlite",
    "image": "registry.example.com/dumbkv-server:2",
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry"}],
    "replicas": 1,
    "storage": {
        "size": "1024Mi",
        "storageClassName": "fast",
        "accessModes": ["ReadWriteOncePod"],
        "reclaimPolicy": "Delete",
    },
    "ingress": {
        "enabled": True,
        "host": "kv.example.org",
        "className": "nginx",
        "clusterIssuer": "internal",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "8m"},
    },
    "monitoring": {"enabled": True, "interval": "1m", "labels": {"team": "storage"}},
    "auth": {"enabled": True, "secretRef": {"name": "my-tokens"}},
    "networkPolicy": {"enabled": True},
    "resources": {"requests": {"cpu": 1, "memory": "0.5Gi"}, "limits": {"cpu": "1500m", "memory": "1024Mi"}},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "kv", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]
            }
        }
    },
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "priorityClassName": "system-cluster-critical",
    "serviceAccountName": "default",
    "podAnnotations": {"example.com/note": "a note, with any text"},
    "podLabels": {"team": "storage"},
    "paused": False,
    "suspended": False,
}
"""Each field of a sqlite resource with a value of its own."""

VALID: dict[str, Body] = {
    "defaults": {},
    "everything": EVERYTHING,
    "nulls": {"image": None, "storage": {"size": None}, "ingress": None},
    "postgres": postgres(),
    "postgres-many": postgres(replicas=3, storage={"reclaimPolicy": "Delete"}),
    "gateway": {
        "gateway": {"parentRef": {"name": "edge", "namespace": "infra", "sectionName": "https", "port": 443}},
        "ingress": {"host": "kv.example.org"},
    },
    "closed": {
        "ingress": {"enabled": False},
        "monitoring": {"enabled": False},
        "auth": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "suspended": True,
    },
    "own-certificate": {"ingress": {"clusterIssuer": ""}, "storage": {"storageClassName": ""}},
}
"""Specs that every part of the project accepts."""

INVALID: dict[str, tuple[Body, str]] = {
    "replicas with sqlite": ({"replicas": 2}, "more than 1"),
    "no replica": ({"replicas": 0}, "spec.replicas"),
    "unknown backend": ({"backend": "mysql"}, "spec.backend"),
    "postgres without its Secret": ({"backend": "postgres"}, "backend postgres needs"),
    "postgres with sqlite": ({"postgres": {"secretRef": {"name": "database"}}}, "backend postgres"),
    "postgres with an empty reference": ({"backend": "postgres", "postgres": {}}, "secretRef"),
    "key of a Secret": (
        postgres(postgres={"secretRef": {"name": "a", "key": "a/b"}}),
        "spec.postgres.secretRef",
    ),
    "size with postgres": (postgres(storage={"size": "1Gi"}), "for backend sqlite only"),
    "class with postgres": (postgres(storage={"storageClassName": "a"}), "for backend sqlite only"),
    "modes with postgres": (postgres(storage={"accessModes": ["ReadWriteOnce"]}), "for backend sqlite only"),
    "size that is none": ({"storage": {"size": "large"}}, "spec.storage.size"),
    "size of zero": ({"storage": {"size": "0"}}, "greater than 0"),
    "unknown access mode": ({"storage": {"accessModes": ["ReadOnlyMany"]}}, "spec.storage.accessModes"),
    "no access mode": ({"storage": {"accessModes": []}}, "spec.storage.accessModes"),
    "an access mode twice": (
        {"storage": {"accessModes": ["ReadWriteOnce", "ReadWriteOnce"]}},
        "spec.storage.accessModes",
    ),
    "ReadWriteOncePod and another": (
        {"storage": {"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]}},
        "cannot be combined",
    ),
    "unknown reclaim policy": ({"storage": {"reclaimPolicy": "Recycle"}}, "spec.storage.reclaimPolicy"),
    "host with a path": ({"ingress": {"host": "example.com/kv"}}, "spec.ingress.host"),
    "wildcard host": ({"ingress": {"host": "*.example.com"}}, "spec.ingress.host"),
    "host in capitals": ({"ingress": {"host": "KV.example.com"}}, "spec.ingress.host"),
    "long label in the host": ({"ingress": {"host": "a" * 64 + ".example.com"}}, "spec.ingress.host"),
    "issuer that is no name": ({"ingress": {"clusterIssuer": "Let's"}}, "spec.ingress.clusterIssuer"),
    "annotation that is no key": ({"ingress": {"annotations": {"a b": "c"}}}, "spec.ingress.annotations"),
    "class name with a gateway": (
        {"gateway": {"parentRef": {"name": "edge"}}, "ingress": {"className": "nginx"}},
        "with gateway an HTTPRoute is made",
    ),
    "gateway without a parent": ({"gateway": {}}, "parentRef"),
    "gateway with an impossible port": (
        {"gateway": {"parentRef": {"name": "edge", "port": 70000}}},
        "spec.gateway.parentRef.port",
    ),
    "interval without a unit": ({"monitoring": {"interval": "30"}}, "spec.monitoring.interval"),
    "label value with a space": ({"monitoring": {"labels": {"a": "b c"}}}, "spec.monitoring.labels"),
    "reserved label on the monitor": (
        {"monitoring": {"labels": {"app.kubernetes.io/instance": "x"}}},
        "spec.monitoring.labels",
    ),
    "reserved label on the pods": ({"podLabels": {"app.kubernetes.io/managed-by": "x"}}, "spec.podLabels"),
    "long label key": ({"podLabels": {"a" * 64: "x"}}, "spec.podLabels"),
    "annotation of pods that is no key": ({"podAnnotations": {"-a": "x"}}, "spec.podAnnotations"),
    "node label that is no value": ({"nodeSelector": {"a": "/"}}, "spec.nodeSelector"),
    "quantity that is none": ({"resources": {"limits": {"cpu": "many"}}}, "spec.resources.limits"),
    "request above its limit": (
        {"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "512Mi"}}},
        "greater than its limit",
    ),
    "empty image": ({"image": ""}, "spec.image"),
    "unknown pull policy": ({"imagePullPolicy": "Sometimes"}, "spec.imagePullPolicy"),
    "name of a Secret": ({"auth": {"secretRef": {"name": "My_Tokens"}}}, "spec.auth.secretRef.name"),
    "text for a number": ({"replicas": "1"}, "spec.replicas"),
    "text for a switch": ({"paused": "yes"}, "spec.paused"),
}
"""By what is wrong: a spec that both the API server and the parser refuse, and a part of what they say."""

INVALID_NAMES = ("1st", "Store", "store-", "a.b", "a" * 53)
