"""The operator's settings: environment variables, DUMBKV_OPERATOR_ and the field's name in capitals."""

import socket
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What an administrator can set. The text below each field is its manual."""

    model_config = SettingsConfigDict(
        env_prefix="DUMBKV_OPERATOR_", use_attribute_docstrings=True, extra="forbid", frozen=True
    )

    server_image: str = "ghcr.io/dumbkv/dumbkv-server:0.1.0"
    """The server's image for every resource that names none in `spec.image`."""

    namespaces: tuple[str, ...] = ()
    """The namespaces to serve, as a JSON list; all namespaces when empty."""

    workers: int = Field(default=8, ge=1, le=256)
    """How many resources are reconciled at the same time."""

    recheck_seconds: float = Field(default=15.0, gt=0)
    """How often a resource is looked at again while something blocks it that no watch reports: an object
    with a child's name that somebody else made."""

    leader_election: bool = True
    """Whether only the holder of the Lease reconciles. Without it exactly one operator may run."""

    lease_name: str = "dumbkv-operator"
    """The name of the Lease that the operators compete for. Their Role has to name it too."""

    lease_namespace: str = Field(default="dumbkv-system", validation_alias="POD_NAMESPACE")
    """The namespace of the Lease: the operator's own, from the variable POD_NAMESPACE (downward API)."""

    identity: str = Field(default_factory=socket.gethostname, validation_alias="POD_NAME")
    """The Lease's holder: the pod's name, from the variable POD_NAME (downward API), or the host's name."""

    lease_duration_seconds: int = Field(default=15, ge=1)
    """How long a standby waits for the holder's next sign of life before it takes over."""

    lease_renew_deadline_seconds: float = Field(default=10.0, gt=0)
    """How long the holder tries to renew the Lease before it gives up and stops reconciling. It must be
    shorter than `lease_duration_seconds`, or two operators could write at the same time."""

    lease_retry_seconds: float = Field(default=2.0, gt=0)
    """The time between two attempts to take or renew the Lease."""

    @model_validator(mode="after")
    def _order(self) -> Self:
        retry, renew = self.lease_retry_seconds, self.lease_renew_deadline_seconds
        if not retry < renew < self.lease_duration_seconds:
            raise ValueError(
                "lease_retry_seconds must be less than lease_renew_deadline_seconds, and that less than "
                "lease_duration_seconds"
            )
        return self

    metrics_port: int = Field(default=8080, ge=0, le=65535)
    """The TCP port of `/metrics`; 0 for no metrics."""

    probe_port: int = Field(default=8081, ge=0, le=65535)
    """The TCP port of `/healthz`, the liveness probe; 0 for none."""

    log_level: Literal["debug", "info", "warning"] = "info"
    """The least important kind of message that is logged."""

    log_format: Literal["text", "json"] = "text"
    """Whether each line of the log is text for a reader or JSON for a collector."""
