"""The custom resource as typed, validated Python, with the defaults that the CRD states.

The API server has checked a stored resource already. All the same every rule that needs no older version of
the resource is checked here too: `render` reads files that no API server has seen.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from dumbkv_operator import names
from dumbkv_operator.quantity import amount

MAX_NAME_LENGTH: Final = 52
"""In characters: every derived name and label stays within a DNS label's 63."""

NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
OBJECT_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
HOST_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$"
OPTIONAL_NAME_PATTERN = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"
NAMESPACE_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?([KMGTPE]i|[kMGTPE])?$"
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?([KMGTPE]i|[numkMGTPE])?$"
DURATION_PATTERN = r"^([0-9]+(ms|s|m|h|d))+$"
DATA_KEY_PATTERN = r"^[-._a-zA-Z0-9]+$"
QUALIFIED_KEY_PATTERN = (
    r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"

ObjectName = Annotated[str, msgspec.Meta(pattern=OBJECT_NAME_PATTERN, min_length=1, max_length=253)]
OptionalName = Annotated[str, msgspec.Meta(pattern=OPTIONAL_NAME_PATTERN, max_length=253)]
QualifiedKey = Annotated[str, msgspec.Meta(pattern=QUALIFIED_KEY_PATTERN)]
LabelValue = Annotated[str, msgspec.Meta(pattern=LABEL_VALUE_PATTERN, max_length=63)]
Labels = Annotated[dict[QualifiedKey, LabelValue], msgspec.Meta(max_length=64)]
Annotations = Annotated[
    dict[QualifiedKey, Annotated[str, msgspec.Meta(max_length=16384)]], msgspec.Meta(max_length=64)
]
Quantity = Annotated[str, msgspec.Meta(pattern=QUANTITY_PATTERN, max_length=20)]
Quantities = Annotated[dict[str, Annotated[int, msgspec.Meta(ge=0)] | Quantity], msgspec.Meta(max_length=16)]
AccessMode = Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]
PodPart = dict[str, Any]
"""A part that goes into the pod as it is. What is in it only the API server checks."""


class SpecError(ValueError):
    """The resource breaks a rule of its kind. The message names the field and what to do."""


class LocalReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The name of an object in the resource's own namespace."""

    name: ObjectName


class SecretKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One key of a Secret in the resource's own namespace."""

    name: ObjectName
    key: Annotated[str, msgspec.Meta(pattern=DATA_KEY_PATTERN, min_length=1, max_length=253)] = "uri"


class Storage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The volume of the SQLite database."""

    size: Annotated[str, msgspec.Meta(pattern=SIZE_PATTERN, min_length=1, max_length=20)] = "1Gi"
    storage_class_name: OptionalName = "efs"
    access_modes: Annotated[tuple[AccessMode, ...], msgspec.Meta(min_length=1, max_length=3)] = (
        "ReadWriteOnce",
    )
    reclaim_policy: Literal["Retain", "Delete"] = "Retain"


class Postgres(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the PostgreSQL URI is."""

    secret_ref: SecretKey


class Ingress(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How the server is reached from outside the cluster."""

    enabled: bool = True
    host: Annotated[str, msgspec.Meta(pattern=HOST_PATTERN, min_length=1, max_length=253)] = (
        "dumbkv.example.com"
    )
    class_name: ObjectName | None = None
    cluster_issuer: OptionalName = "letsencrypt"
    annotations: Annotations = {}


class ParentReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The Gateway that an HTTPRoute attaches to."""

    name: ObjectName
    namespace: Annotated[str, msgspec.Meta(pattern=NAMESPACE_PATTERN, min_length=1, max_length=63)] | None = (
        None
    )
    section_name: ObjectName | None = None
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None


class Gateway(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """With it an HTTPRoute is made instead of the Ingress."""

    parent_ref: ParentReference


class Monitoring(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The ServiceMonitor."""

    enabled: bool = True
    interval: Annotated[str, msgspec.Meta(pattern=DURATION_PATTERN, min_length=2, max_length=20)] = "30s"
    labels: Labels = msgspec.field(default_factory=lambda: {"release": "prometheus"})


class Auth(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Bearer tokens."""

    enabled: bool = True
    secret_ref: LocalReference | None = None


class NetworkPolicy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who may talk to the server, and to whom it may talk."""

    enabled: bool = True


class Resources(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the server's container asks for and may use at most, as in a pod."""

    requests: Quantities = {}
    limits: Quantities = {}


def _default_resources() -> Resources:
    # No CPU limit: it would only delay answers. A memory limit, since a server that leaks should not take
    # its neighbours down.
    return Resources(requests={"cpu": "50m", "memory": "128Mi"}, limits={"memory": "512Mi"})


class Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a user asks for."""

    backend: Literal["sqlite", "postgres"] = "sqlite"
    image: Annotated[str, msgspec.Meta(min_length=1, max_length=512)] | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: Annotated[tuple[LocalReference, ...], msgspec.Meta(max_length=16)] = ()
    replicas: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    storage: Storage = Storage()
    postgres: Postgres | None = None
    ingress: Ingress = Ingress()
    gateway: Gateway | None = None
    monitoring: Monitoring = msgspec.field(default_factory=Monitoring)
    auth: Auth = Auth()
    network_policy: NetworkPolicy = NetworkPolicy()
    resources: Resources = msgspec.field(default_factory=_default_resources)
    node_selector: Labels = {}
    tolerations: Annotated[tuple[PodPart, ...], msgspec.Meta(max_length=64)] = ()
    affinity: PodPart = {}
    topology_spread_constraints: Annotated[tuple[PodPart, ...], msgspec.Meta(max_length=16)] = ()
    priority_class_name: ObjectName | None = None
    service_account_name: ObjectName | None = None
    pod_annotations: Annotations = {}
    pod_labels: Labels = {}
    paused: bool = False
    suspended: bool = False


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One DumbKV resource. `created` is an RFC 3339 timestamp, empty for one that no API server has seen."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    created: str = ""
    deleting: bool = False
    spec: Spec = msgspec.field(default_factory=Spec)

    @property
    def key(self) -> tuple[str, str]:
        """The namespace and the name: what identifies the resource for as long as it exists."""
        return self.namespace, self.name

    @property
    def service_host(self) -> str:
        """The host under which clients inside the cluster reach the server."""
        return f"{self.name}.{self.namespace}.svc"

    @property
    def url(self) -> str:
        """Where clients reach the server: from outside the cluster where the resource asks for that."""
        if self.spec.gateway is not None:
            # A Gateway's listener decides between the two; port 80 is the sign of one without TLS.
            scheme = "http" if self.spec.gateway.parent_ref.port == 80 else "https"
            return f"{scheme}://{self.spec.ingress.host}"
        if self.spec.ingress.enabled:
            return f"https://{self.spec.ingress.host}"
        return f"http://{self.service_host}"


def parse(body: Mapping[str, Any]) -> Resource:
    """Return the typed resource that `body`, an object as the API gives it, describes.

    Unknown fields are passed over: a newer CRD must not stop an older operator. Raises SpecError where a
    field has the wrong type or value, or two fields contradict each other.
    """
    metadata: Mapping[str, Any] = body.get("metadata") or {}
    written = _without_nulls(body.get("spec") or {})
    resource = Resource(
        name=str(metadata.get("name") or ""),
        namespace=metadata.get("namespace") or "default",
        uid=metadata.get("uid") or "",
        generation=metadata.get("generation") or 0,
        created=metadata.get("creationTimestamp") or "",
        deleting=bool(metadata.get("deletionTimestamp")),
        spec=_spec(written),
    )
    problems = [*_name_problems(resource.name), *_backend_problems(resource.spec, written)]
    problems += _field_problems(resource.spec)
    if problems:
        raise SpecError("; ".join(problems))
    return resource


def unknown_fields(body: Mapping[str, Any]) -> list[str]:
    """Return the path of each field of the spec that is none: a typing error, or a newer version's."""
    return list(_unknown(Spec, body.get("spec") or {}, "spec"))


def _unknown(part: type[msgspec.Struct], value: Any, path: str) -> Iterator[str]:
    known = {field.encode_name: field.type for field in msgspec.structs.fields(part)}
    for key, item in value.items() if isinstance(value, Mapping) else ():
        if key not in known:
            yield f"{path}.{key}"
        elif (inner := _struct(known[key])) is not None:
            yield from _unknown(inner, item, f"{path}.{key}")


def _struct(annotation: Any) -> type[msgspec.Struct] | None:
    """Return the struct that `annotation` is, or is when it is not None."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _spec(written: Any) -> Spec:
    try:
        return msgspec.convert(written, type=Spec)
    except msgspec.ValidationError as error:
        # msgspec ends with "- at `$.path`", or "- at `key` in `$.path`" where the key of a map is wrong.
        message, _, place = str(error).rpartition(" - at ")
        raise SpecError(f"spec{place.partition('$')[2].rstrip('`')}: {message}") from error


def _without_nulls(value: Any) -> Any:
    """Return `value` without fields that are null: the API server drops them before it sets defaults."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _name_problems(name: str) -> Iterator[str]:
    if len(name) > MAX_NAME_LENGTH or not re.match(NAME_PATTERN, name):
        yield (
            f"metadata.name: {name!r} must start with a letter, hold only lowercase letters, digits and '-', "
            f"end with a letter or digit, and have at most {MAX_NAME_LENGTH} characters"
        )


def _backend_problems(spec: Spec, written: Mapping[str, Any]) -> Iterator[str]:
    if spec.backend == "sqlite":
        if spec.replicas > 1:
            yield "spec.replicas: more than 1 needs backend postgres, since one process owns an SQLite file"
        if spec.postgres is not None:
            yield "spec.postgres: only with backend postgres; set spec.backend to postgres or remove it"
        return
    if spec.postgres is None:
        yield "spec.postgres: backend postgres needs secretRef.name, the Secret that holds the URI"
    if {"size", "storageClassName", "accessModes"} & set(written.get("storage", {})):
        yield (
            "spec.storage: size, storageClassName and accessModes are for backend sqlite only; "
            "PostgreSQL keeps the data, so remove them"
        )


def _field_problems(spec: Spec) -> Iterator[str]:
    if amount(spec.storage.size) == 0:
        yield "spec.storage.size: must be greater than 0"
    if "ReadWriteOncePod" in spec.storage.access_modes and len(spec.storage.access_modes) > 1:
        yield "spec.storage.accessModes: ReadWriteOncePod cannot be combined with another mode"
    if len(set(spec.storage.access_modes)) < len(spec.storage.access_modes):
        yield "spec.storage.accessModes: each mode can be given once"
    if spec.gateway is not None and spec.ingress.class_name is not None:
        yield "spec.ingress.className: for an Ingress only, and with gateway an HTTPRoute is made; remove one"
    for name, request in spec.resources.requests.items():
        limit = spec.resources.limits.get(name)
        if limit is not None and amount(request) > amount(limit):
            yield f"spec.resources.requests.{name}: {request} is greater than its limit, {limit}"
    for path, given in (("podLabels", spec.pod_labels), ("monitoring.labels", spec.monitoring.labels)):
        for reserved in sorted(given.keys() & names.labels("")):
            yield f"spec.{path}: {reserved} is the operator's own label; remove it"
