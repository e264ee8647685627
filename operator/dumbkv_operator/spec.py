"""The custom resource as typed, validated Python, with the defaults that the CRD states.

The API server has checked a stored resource already. All the same every rule that needs no older version of
the resource is checked here too: `render` reads files that no API server has seen.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec

MAX_NAME_LENGTH = 52
"""In characters. The longest derived name, `<name>-binding`, stays a DNS label (63) with room to spare."""

NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
SUBDOMAIN_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
QUANTITY_PATTERN = r"^(\+)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?[0-9]+))?$"
DURATION_PATTERN = r"^([0-9]+(ms|s|m|h|d))+$"
DATA_KEY_PATTERN = r"^[-._a-zA-Z0-9]+$"

SubdomainName = Annotated[str, msgspec.Meta(pattern=SUBDOMAIN_PATTERN, max_length=253)]
Labels = dict[str, str]
PodPart = dict[str, Any]
AccessMode = Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]


class SpecError(ValueError):
    """The resource breaks a rule of its kind. The message names the field and what to do."""


class LocalReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The name of an object in the resource's own namespace."""

    name: SubdomainName


class SecretKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One key of a Secret in the resource's own namespace."""

    name: SubdomainName
    key: Annotated[str, msgspec.Meta(pattern=DATA_KEY_PATTERN, max_length=253)] = "uri"


class Storage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The volume of the SQLite database."""

    size: Annotated[str, msgspec.Meta(pattern=QUANTITY_PATTERN, max_length=20)] = "1Gi"
    storage_class_name: Annotated[str, msgspec.Meta(max_length=253)] = "efs"
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
    host: SubdomainName = "dumbkv.example.com"
    class_name: SubdomainName | None = None
    cluster_issuer: Annotated[str, msgspec.Meta(max_length=253)] = "letsencrypt"
    annotations: Labels = {}


class ParentReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The Gateway that an HTTPRoute attaches to."""

    name: SubdomainName
    namespace: Annotated[str, msgspec.Meta(min_length=1, max_length=63)] | None = None
    section_name: SubdomainName | None = None
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None


class Gateway(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """With it an HTTPRoute is made instead of the Ingress."""

    parent_ref: ParentReference


class Monitoring(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The ServiceMonitor."""

    enabled: bool = True
    interval: Annotated[str, msgspec.Meta(pattern=DURATION_PATTERN, max_length=20)] = "30s"
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

    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


def _default_resources() -> Resources:
    # No CPU limit: it would only delay answers. A memory limit, since a server that leaks should not take
    # its neighbours down.
    return Resources(requests={"cpu": "50m", "memory": "128Mi"}, limits={"memory": "512Mi"})


class Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a user asks for."""

    backend: Literal["sqlite", "postgres"] = "sqlite"
    image: Annotated[str, msgspec.Meta(min_length=1, max_length=512)] | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[LocalReference, ...] = ()
    replicas: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    storage: Storage | None = None
    postgres: Postgres | None = None
    ingress: Ingress = Ingress()
    gateway: Gateway | None = None
    monitoring: Monitoring = msgspec.field(default_factory=Monitoring)
    auth: Auth = Auth()
    network_policy: NetworkPolicy = NetworkPolicy()
    resources: Resources = msgspec.field(default_factory=_default_resources)
    node_selector: Labels = {}
    tolerations: tuple[PodPart, ...] = ()
    affinity: PodPart = {}
    topology_spread_constraints: tuple[PodPart, ...] = ()
    priority_class_name: SubdomainName | None = None
    service_account_name: SubdomainName | None = None
    pod_annotations: Labels = {}
    pod_labels: Labels = {}
    paused: bool = False
    suspended: bool = False

    @property
    def volume(self) -> Storage:
        """The storage that was asked for, or the default one."""
        return self.storage or Storage()


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
    spec = _spec(_without_nulls(body.get("spec") or {}))
    resource = Resource(
        name=str(metadata.get("name") or ""),
        namespace=metadata.get("namespace") or "default",
        uid=metadata.get("uid") or "",
        generation=metadata.get("generation") or 0,
        created=metadata.get("creationTimestamp") or "",
        deleting=bool(metadata.get("deletionTimestamp")),
        spec=spec,
    )
    if problems := list(_problems(resource)):
        raise SpecError("; ".join(problems))
    return resource


def _spec(value: Any) -> Spec:
    try:
        return msgspec.convert(value, type=Spec)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise SpecError(f"spec{path.rstrip('`')}: {message}") from error


def _without_nulls(value: Any) -> Any:
    """Return `value` without fields that are null: the API server drops them before it sets defaults."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _problems(resource: Resource) -> Iterator[str]:
    name, spec = resource.name, resource.spec
    if len(name) > MAX_NAME_LENGTH or not re.match(NAME_PATTERN, name):
        yield (
            f"metadata.name: {name!r} must start with a letter, hold only lowercase letters, digits and '-', "
            f"end with a letter or digit, and have at most {MAX_NAME_LENGTH} characters"
        )
    if spec.backend == "sqlite":
        if spec.replicas > 1:
            yield "spec.replicas: more than 1 needs backend postgres, since one process owns an SQLite file"
        if spec.postgres is not None:
            yield "spec.postgres: only with backend postgres; set spec.backend or remove it"
        return
    if spec.postgres is None:
        yield "spec.postgres.secretRef: required with backend postgres; name the Secret with the URI"
    if spec.storage is not None:
        yield "spec.storage: only with backend sqlite; PostgreSQL keeps the data, so remove it"
