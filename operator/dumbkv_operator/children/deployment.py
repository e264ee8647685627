"""The Deployment that runs the server."""

from typing import Any

from dumbkv_operator import names
from dumbkv_operator.children.base import HTTP_PORT, USER_ID, Context, Manifest, metadata
from dumbkv_operator.quantity import canonical
from dumbkv_operator.spec import Resource, Resources, Spec

DATA_FOLDER = "/dumbkvstore"
CONFIG_FOLDER = "/etc/dumbkv"
# A pod leaves a node that is lost after this time; Kubernetes' own default is five minutes.
SECONDS_ON_LOST_NODE = 30
LOST_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def build(resource: Resource, context: Context) -> Manifest:
    """Return the Deployment; suspended it has no replica."""
    spec = resource.spec
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(resource, resource.name),
        "spec": {
            "replicas": 0 if spec.suspended else spec.replicas,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": 300,
            "strategy": _strategy(spec),
            "selector": {"matchLabels": names.selector(resource.name)},
            "template": {"metadata": _pod_metadata(resource), "spec": _pod(resource, context)},
        },
    }


def _strategy(spec: Spec) -> Manifest:
    """Recreate: two servers must never meet on one SQLite file.

    Several servers on PostgreSQL replace each other one by one, so that clients notice nothing.
    """
    if spec.replicas == 1:
        # The null takes away what another writer may have set: the API server refuses the two together.
        return {"type": "Recreate", "rollingUpdate": None}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def _pod_metadata(resource: Resource) -> Manifest:
    result: Manifest = {"labels": {**resource.spec.pod_labels, **names.labels(resource.name)}}
    if resource.spec.pod_annotations:
        result["annotations"] = resource.spec.pod_annotations
    return result


def _pod(resource: Resource, context: Context) -> Manifest:
    spec = resource.spec
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(spec, context)],
        "volumes": _volumes(resource),
    }
    optional: Manifest = {
        "imagePullSecrets": [{"name": reference.name} for reference in spec.image_pull_secrets],
        "nodeSelector": spec.node_selector,
        "tolerations": _tolerations(spec),
        "affinity": spec.affinity,
        "topologySpreadConstraints": list(spec.topology_spread_constraints),
        "priorityClassName": spec.priority_class_name,
        "serviceAccountName": spec.service_account_name,
    }
    return pod | {key: value for key, value in optional.items() if value}


def _tolerations(spec: Spec) -> list[Manifest]:
    """The resource's own, and ours for each taint of a lost node that none of them is for.

    Which are for it is decided as the API server does before it adds its default (admission plugin
    DefaultTolerationSeconds).
    """
    given = list(spec.tolerations)
    return given + [
        {
            "key": taint,
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": SECONDS_ON_LOST_NODE,
        }
        for taint in LOST_NODE_TAINTS
        if not any(
            each.get("key", "") in ("", taint) and each.get("effect", "") in ("", "NoExecute")
            for each in given
        )
    ]


def _container(spec: Spec, context: Context) -> Manifest:
    container: Manifest = {
        "name": "server",
        "image": spec.image or context.server_image,
        "imagePullPolicy": spec.image_pull_policy,
        "ports": [{"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        "env": [{"name": name, "value": value} for name, value in _environment(spec).items()],
        "volumeMounts": _mounts(spec),
        **_probes(),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    if resources := _resources(spec.resources):
        container["resources"] = resources
    if spec.backend == "postgres":
        # A server that stops goes on answering until every node has taken it out of the Service. One server
        # alone has it too: the pods are not to differ, or a second replica would restart the first.
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": 3}}}
    return container


def _environment(spec: Spec) -> dict[str, str]:
    environment: dict[str, str] = {"DATABASE_TYPE": spec.backend}
    if spec.backend == "sqlite":
        environment["DATABASE_LOCATION"] = f"{DATA_FOLDER}/dumbkv.db"
        # On a node that was cut off the former server may still run, and stay the one that writes.
        environment["DUMBKV_WAIT_FOR_OWNER"] = "true"
    else:
        environment["DATABASE_LOCATION_FILE"] = f"{CONFIG_FOLDER}/database/uri"
    environment["DUMBKV_PEPPER_FILE"] = f"{CONFIG_FOLDER}/pepper/peppers"
    if spec.auth.enabled:
        environment["DUMBKV_AUTH_TOKENS_FILE"] = f"{CONFIG_FOLDER}/auth/tokens"
    return environment


def _probes() -> Manifest:
    """Start-up asks each second, so that a pod is Ready as soon as it serves.

    Neither start-up nor liveness asks the database: restarting a server does not bring a database back.
    """
    return {
        "startupProbe": _probe("/livez", period=1, timeout=1, failures=120),
        "readinessProbe": _probe("/readyz", period=2, timeout=2, failures=3),
        "livenessProbe": _probe("/livez", period=10, timeout=5, failures=6),
    }


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def _resources(resources: Resources) -> Manifest:
    parts = {"requests": resources.requests, "limits": resources.limits}
    return {
        name: {resource: canonical(value) for resource, value in part.items()}
        for name, part in parts.items()
        if part
    }


def _mounts(spec: Spec) -> list[Manifest]:
    mounts: list[Manifest] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    if spec.backend == "sqlite":
        mounts.append({"name": "data", "mountPath": DATA_FOLDER, "subPath": "dumbkvstore"})
    else:
        mounts.append(_configuration_mount("database"))
    mounts.append(_configuration_mount("pepper"))
    if spec.auth.enabled:
        mounts.append(_configuration_mount("auth"))
    return mounts


def _configuration_mount(name: str) -> Manifest:
    return {"name": name, "mountPath": f"{CONFIG_FOLDER}/{name}", "readOnly": True}


def _volumes(resource: Resource) -> list[Manifest]:
    name, spec = resource.name, resource.spec
    volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}]
    if spec.postgres is None:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": names.claim(name)}})
    else:
        reference = spec.postgres.secret_ref
        volumes.append(_secret_volume("database", reference.name, {reference.key: "uri"}))
    volumes.append(_secret_volume("pepper", names.pepper_secret(name), {"peppers": "peppers"}))
    if spec.auth.enabled:
        secret = spec.auth.secret_ref.name if spec.auth.secret_ref else names.auth_secret(name)
        volumes.append(_secret_volume("auth", secret, {"tokens": "tokens"}))
    return volumes


def _secret_volume(volume: str, secret: str, items: dict[str, str]) -> dict[str, Any]:
    return {
        "name": volume,
        "secret": {
            "secretName": secret,
            "defaultMode": 0o440,
            "items": [{"key": key, "path": path} for key, path in items.items()],
        },
    }
