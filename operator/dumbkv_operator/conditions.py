"""The conditions of a resource: pure, from what is and what was done to what is said about it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dumbkv_operator import names
from dumbkv_operator.apply import Outcome
from dumbkv_operator.children import (
    BINDING_SECRET,
    CLAIM,
    DEPLOYMENT,
    HTTP_ROUTE,
    INGRESS,
    SERVICE_MONITOR,
    Child,
)
from dumbkv_operator.client import Object
from dumbkv_operator.conflicts import Block, condition_of
from dumbkv_operator.quantity import amount
from dumbkv_operator.reasons import Reason, Type
from dumbkv_operator.spec import Resource

CORE: Final = (Type.STORAGE_READY, Type.DATABASE_READY, Type.WORKLOAD_READY)
"""The conditions that `Ready` sums up."""


@dataclass(frozen=True)
class Condition:
    """One condition as it is now. `status` is "True", "False" or "Unknown"."""

    type: Type
    status: str
    reason: Reason
    message: str


@dataclass(frozen=True)
class Facts:
    """All that the conditions follow from."""

    resource: Resource
    outcome: Outcome
    blocks: tuple[Block, ...] = ()
    pods: tuple[Object, ...] = ()
    storage_class: Object | None = None
    missing_kinds: frozenset[Child] = frozenset()


def invalid(message: str) -> list[Condition]:
    """Return the conditions of a resource that breaks a rule of its kind: nothing else can be known."""
    said = f"{message}. Nothing is changed until this is mended."
    rest = (*CORE, Type.EXPOSED, Type.MONITORED)
    return [
        Condition(Type.READY, "False", Reason.INVALID_SPEC, said),
        *(Condition(each, "Unknown", Reason.INVALID_SPEC, said) for each in rest),
    ]


def compute(facts: Facts) -> list[Condition]:
    """Return all conditions, `Ready` first."""
    workload = _workload(facts)
    parts = [
        _obstacle(facts, Type.STORAGE_READY) or _storage(facts),
        _obstacle(facts, Type.DATABASE_READY) or _database(facts, workload),
        _obstacle(facts, Type.WORKLOAD_READY) or workload,
    ]
    return [
        _ready(facts, parts),
        *parts,
        _obstacle(facts, Type.EXPOSED) or _exposed(facts),
        _obstacle(facts, Type.MONITORED) or _monitored(facts),
        *_modes(facts),
    ]


def _obstacle(facts: Facts, condition: Type) -> Condition | None:
    for block in facts.blocks:
        if block.condition is condition:
            return Condition(condition, "False", block.reason, block.message)
    for child, message in facts.outcome.failures.items():
        if condition_of(child) is condition:
            name = child.name(facts.resource.name)
            said = f"The API server did not take {child.kind} {name}, it is tried again: {message}"
            return Condition(condition, "False", Reason.APPLY_FAILED, said)
    return None


def _ready(facts: Facts, parts: Iterable[Condition]) -> Condition:
    # What is refused for certain says more than what is not known yet.
    lacking = sorted(
        (part for part in parts if part.status != "True"), key=lambda part: part.status != "False"
    )
    if lacking:
        return Condition(Type.READY, lacking[0].status, lacking[0].reason, lacking[0].message)
    if facts.outcome.pending:
        said = "The children are not as the specification wants them: set spec.paused to false for that."
        return Condition(Type.READY, "False", Reason.CHANGES_PENDING, said)
    return Condition(Type.READY, "True", Reason.READY, f"It serves at http://{facts.resource.service_host}.")


def _storage(facts: Facts) -> Condition:
    spec = facts.resource.spec
    if spec.backend != "sqlite":
        return Condition(Type.STORAGE_READY, "True", Reason.NOT_NEEDED, "PostgreSQL keeps the data.")
    claim = facts.outcome.observed.get(CLAIM)
    if claim is None:
        return Condition(Type.STORAGE_READY, "Unknown", Reason.CLAIM_PENDING, "The claim is not there yet.")
    name = claim["metadata"]["name"]
    if claim["metadata"].get("deletionTimestamp"):
        said = (
            f"The claim {name} is being deleted, and stays only as long as a pod uses it: save its data now."
        )
        return Condition(Type.STORAGE_READY, "False", Reason.DELETION_PENDING, said)
    phase = claim.get("status", {}).get("phase")
    if phase == "Lost":
        said = f"The volume of the claim {name} is gone: restore it, or delete the claim to begin anew."
        return Condition(Type.STORAGE_READY, "False", Reason.CLAIM_LOST, said)
    if phase != "Bound":
        return _unbound(claim, facts.storage_class)
    return _bound(facts, claim)


def _unbound(claim: Object, storage_class: Object | None) -> Condition:
    wanted = claim["spec"].get("storageClassName")
    if wanted and storage_class is None:
        said = (
            f"There is no StorageClass {wanted}: create it, or make the resource anew with another "
            "spec.storage.storageClassName."
        )
        return Condition(Type.STORAGE_READY, "False", Reason.STORAGE_CLASS_MISSING, said)
    said = (
        f"The claim {claim['metadata']['name']} waits for a volume of StorageClass {wanted}: if this lasts, "
        "`kubectl describe` it, and look at the class's provisioner."
    )
    return Condition(Type.STORAGE_READY, "False", Reason.CLAIM_PENDING, said)


def _bound(facts: Facts, claim: Object) -> Condition:
    name = claim["metadata"]["name"]
    wanted = amount(facts.resource.spec.storage.size)
    requested = claim["spec"]["resources"]["requests"]["storage"]
    asked = amount(requested)
    has = amount(claim["status"].get("capacity", {}).get("storage", "0"))
    if wanted > asked and not expandable(facts.storage_class):
        said = (
            f"StorageClass {claim['spec'].get('storageClassName')} cannot enlarge volumes: set "
            f"allowVolumeExpansion on it if its provisioner can, or set spec.storage.size back; the claim "
            f"{name} keeps {requested}."
        )
        return Condition(Type.STORAGE_READY, "False", Reason.EXPANSION_UNSUPPORTED, said)
    if asked > has:
        said = f"The volume of the claim {name} is being enlarged to {requested}."
        return Condition(Type.STORAGE_READY, "False", Reason.RESIZING, said)
    return Condition(Type.STORAGE_READY, "True", Reason.BOUND, f"The claim {name} has its volume.")


def expandable(storage_class: Object | None) -> bool:
    """Return whether volumes of the class can be enlarged."""
    return bool(storage_class and storage_class.get("allowVolumeExpansion"))


def _database(facts: Facts, workload: Condition) -> Condition:
    if facts.resource.spec.backend == "sqlite":
        return Condition(Type.DATABASE_READY, "True", Reason.EMBEDDED, "SQLite runs inside the server.")
    # A server is ready only while it reaches its database, so a ready pod is the proof.
    deployment = facts.outcome.observed.get(DEPLOYMENT) or {}
    if workload.status == "True" or (deployment.get("status") or {}).get("readyReplicas"):
        return Condition(Type.DATABASE_READY, "True", Reason.CONNECTED, "A server reaches PostgreSQL.")
    if facts.resource.spec.suspended:
        said = "The resource is suspended: no server asks PostgreSQL."
    else:
        said = (
            "No server has reported yet that it reaches PostgreSQL: if this lasts, see the server's log "
            f"(`kubectl logs deployment/{facts.resource.name}`) and the URI in the Secret."
        )
    return Condition(Type.DATABASE_READY, "Unknown", Reason.CONNECTING, said)


def _workload(facts: Facts) -> Condition:
    if facts.resource.spec.suspended:
        said = "No pod runs: set spec.suspended to false to start it again."
        return Condition(Type.WORKLOAD_READY, "False", Reason.SUSPENDED, said)
    deployment = facts.outcome.observed.get(DEPLOYMENT)
    if deployment is None:
        said = "There is no Deployment yet: the other conditions say what it waits for."
        return Condition(Type.WORKLOAD_READY, "Unknown", Reason.WAITING, said)
    if rolled_out(deployment):
        count = deployment["status"]["availableReplicas"]
        said = f"{count} of {count} pods serve."
        return Condition(Type.WORKLOAD_READY, "True", Reason.AVAILABLE, said)
    return next(_troubles(facts, deployment), None) or Condition(
        Type.WORKLOAD_READY,
        "False",
        Reason.ROLLING_OUT,
        f"Pods are starting: if this lasts, see `kubectl describe deployment/{facts.resource.name}`.",
    )


def rolled_out(deployment: Object) -> bool:
    """Return whether all pods are of the Deployment's present generation and serve (`kubectl rollout`)."""
    status: Mapping[str, Any] = deployment.get("status") or {}
    replicas = deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == replicas
        and status.get("replicas", 0) == replicas
        and status.get("availableReplicas", 0) == replicas
    )


WAITING_REASONS: Final = {
    "ErrImagePull": Reason.IMAGE_PULL_FAILED,
    "ImagePullBackOff": Reason.IMAGE_PULL_FAILED,
    "InvalidImageName": Reason.IMAGE_PULL_FAILED,
    "ErrImageNeverPull": Reason.IMAGE_PULL_FAILED,
    "CrashLoopBackOff": Reason.CRASH_LOOPING,
    "CreateContainerConfigError": Reason.CONTAINER_CONFIG_ERROR,
    "CreateContainerError": Reason.CONTAINER_CONFIG_ERROR,
    "RunContainerError": Reason.CONTAINER_CONFIG_ERROR,
}
REMEDIES: Final = {
    Reason.NODE_UNREACHABLE: (
        "another pod starts by itself, and serves as soon as this one cannot write any more; if that lasts, "
        "bring the node back, or turn it off for certain and `kubectl delete node` it"
    ),
    Reason.IMAGE_PULL_FAILED: "check spec.image and spec.imagePullSecrets",
    Reason.CRASH_LOOPING: "see `kubectl logs --previous` of the pod",
    Reason.CONTAINER_CONFIG_ERROR: "see `kubectl describe` of the pod",
    Reason.UNSCHEDULABLE: "make room, or relax spec.resources, spec.nodeSelector or spec.affinity",
    Reason.PODS_REFUSED: "see `kubectl describe` of the ReplicaSet",
}


def _troubles(facts: Facts, deployment: Object) -> Iterator[Condition]:
    pods = sorted(facts.pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True)
    for pod in pods:
        # First of all: a new pod may be held up just because of this one.
        if _is_out_of_reach(pod):
            name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
            yield _trouble(Reason.NODE_UNREACHABLE, f"Pod {name} is on node {node}, which does not answer")
    for pod in pods:
        name = pod["metadata"]["name"]
        for container in pod["status"].get("containerStatuses") or ():
            if reason := _container_trouble(container):
                yield _trouble(reason, f"Pod {name}: {_detail(container)}")
        for condition in pod["status"].get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
                yield _trouble(
                    Reason.UNSCHEDULABLE, f"Pod {name}: {condition.get('message', '').rstrip('.')}"
                )
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            yield _trouble(Reason.PODS_REFUSED, condition.get("message", ""))


def _is_out_of_reach(pod: Object) -> bool:
    """Return whether the pod's node was lost while it served.

    Then the node controller takes its condition Ready away and leaves ContainersReady as it was; a kubelet
    gives both the same status, as these pods have no readiness gates.
    """
    statuses = {each["type"]: each["status"] for each in pod["status"].get("conditions") or ()}
    return (statuses.get("Ready"), statuses.get("ContainersReady")) == ("False", "True")


def _container_trouble(container: Mapping[str, Any]) -> Reason | None:
    if container.get("restartCount", 0) > 1 and not container.get("ready"):
        # Between two ends it runs for a moment: it is still the same trouble.
        return Reason.CRASH_LOOPING
    waiting = (container.get("state") or {}).get("waiting") or {}
    return WAITING_REASONS.get(waiting.get("reason", ""))


def _detail(container: Mapping[str, Any]) -> str:
    # Never the kubelet's message: it counts up its back-off, and each count would be a write of the status.
    if ended := (container.get("lastState") or {}).get("terminated"):
        return f"its container ended with exit code {ended['exitCode']}"
    return f"image {container['image']}"


def _trouble(reason: Reason, what: str) -> Condition:
    return Condition(Type.WORKLOAD_READY, "False", reason, f"{what}: {REMEDIES[reason]}.")


def _exposed(facts: Facts) -> Condition:
    spec = facts.resource.spec
    if spec.gateway is not None:
        return _routed_by_gateway(facts)
    if not spec.ingress.enabled:
        return Condition(Type.EXPOSED, "False", Reason.DISABLED, "spec.ingress.enabled is false.")
    ingress = facts.outcome.observed.get(INGRESS) or {}
    if (ingress.get("status") or {}).get("loadBalancer", {}).get("ingress"):
        return Condition(Type.EXPOSED, "True", Reason.ROUTED, f"The Ingress leads {facts.resource.url} here.")
    said = (
        "No ingress controller has given the Ingress an address yet: if this lasts, install one, or check "
        "spec.ingress.className."
    )
    return Condition(Type.EXPOSED, "False", Reason.ADDRESS_PENDING, said)


def _routed_by_gateway(facts: Facts) -> Condition:
    if HTTP_ROUTE in facts.missing_kinds:
        said = "The cluster has no HTTPRoute (gateway.networking.k8s.io/v1): install the Gateway API."
        return Condition(Type.EXPOSED, "False", Reason.KIND_MISSING, said)
    route = facts.outcome.observed.get(HTTP_ROUTE) or {}
    for parent in (route.get("status") or {}).get("parents") or ():
        for condition in parent.get("conditions") or ():
            if condition["type"] == "Accepted" and condition["status"] == "True":
                said = f"The Gateway leads {facts.resource.url} here."
                return Condition(Type.EXPOSED, "True", Reason.ROUTED, said)
            if condition["type"] == "Accepted" and condition["status"] == "False":
                said = f"The Gateway refuses the HTTPRoute: {condition.get('message')}"
                return Condition(Type.EXPOSED, "False", Reason.ROUTE_REFUSED, said)
    said = "No Gateway has taken up the HTTPRoute yet: if this lasts, check spec.gateway.parentRef."
    return Condition(Type.EXPOSED, "False", Reason.ROUTE_PENDING, said)


def _monitored(facts: Facts) -> Condition:
    if not facts.resource.spec.monitoring.enabled:
        return Condition(Type.MONITORED, "False", Reason.DISABLED, "spec.monitoring.enabled is false.")
    if SERVICE_MONITOR in facts.missing_kinds:
        said = (
            "The cluster has no ServiceMonitor (monitoring.coreos.com/v1): install prometheus-operator, or "
            "set spec.monitoring.enabled to false."
        )
        return Condition(Type.MONITORED, "False", Reason.KIND_MISSING, said)
    if facts.outcome.observed.get(SERVICE_MONITOR) is None:
        return Condition(Type.MONITORED, "Unknown", Reason.WAITING, "The ServiceMonitor is not there yet.")
    return Condition(Type.MONITORED, "True", Reason.MONITOR_CREATED, "The ServiceMonitor is there.")


def _modes(facts: Facts) -> Iterator[Condition]:
    if facts.resource.spec.paused:
        changes = "; ".join(map(str, facts.outcome.pending)) or "nothing"
        said = f"No child is written. Without spec.paused the operator would now change: {changes}."
        yield Condition(Type.PAUSED, "True", Reason.PAUSED, said)
    if facts.resource.spec.suspended:
        said = "No pod runs and the data is kept: set spec.suspended to false to start it again."
        yield Condition(Type.SUSPENDED, "True", Reason.SUSPENDED, said)
    if repairs := facts.outcome.repairs:
        said = "; ".join(_repaired(change.child, change.named_fields, facts.resource) for change in repairs)
        yield Condition(Type.DRIFT_CORRECTED, "True", Reason.REPAIRED, said)


def _repaired(child: Child, fields: str, resource: Resource) -> str:
    what = f"{child.kind} {child.name(resource.name)}"
    return f"{what}: set back {fields}" if fields else f"{what}: made again"


def details(facts: Facts) -> dict[str, Any]:
    """Return the rest of the status; None for what there is not."""
    resource, observed = facts.resource, facts.outcome.observed
    taken = any(block.reason is Reason.HOST_TAKEN for block in facts.blocks)
    claim = observed.get(CLAIM) or {}
    deployment = observed.get(DEPLOYMENT)
    containers = deployment["spec"]["template"]["spec"]["containers"] if deployment else []
    return {
        "url": f"http://{resource.service_host}" if taken else resource.url,
        "binding": {"name": names.binding_secret(resource.name)} if observed.get(BINDING_SECRET) else None,
        "image": containers[0]["image"] if containers else None,
        "storage": (claim.get("status") or {}).get("capacity", {}).get("storage"),
    }
