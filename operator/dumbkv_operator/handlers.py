"""What kopf calls. No decision is taken here: the handlers start, stop and feed the operator.

kopf stores nothing on the users' objects, since there are only event handlers: no finalizer, no annotation.
"""

from typing import Any, Protocol

import kopf

from dumbkv_operator import names
from dumbkv_operator.client import login
from dumbkv_operator.informer import Key


class Operator(Protocol):
    """What the handlers need of the operator."""

    async def start(self) -> None:
        """Start the caches and stand for the Lease."""

    async def stop(self) -> None:
        """Stop reconciling, give the Lease back, close all connections."""

    def notice(self, key: Key) -> None:
        """Put a resource on the queue."""

    def health(self) -> str:
        """Return a word on the operator's health; raise when it should be restarted."""


def register(operator: Operator) -> kopf.OperatorRegistry:
    """Return kopf's registry with the handlers that serve `operator`."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)
        await operator.start()

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        await operator.stop()

    @kopf.on.login(registry=registry)
    async def authenticate(**_: Any) -> kopf.ConnectionInfo:
        return login()

    @kopf.on.probe(registry=registry, id="operator")
    async def health(**_: Any) -> str:
        return operator.health()

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def changed(namespace: str | None, name: str | None, **_: Any) -> None:
        operator.notice((namespace or "", name or ""))

    return registry


def configure(settings: kopf.OperatorSettings) -> None:
    """Set what the operator's own machinery does in kopf's place."""
    settings.posting.enabled = False
    settings.peering.standalone = True
    # The operator's own watch of the CustomResourceDefinitions asks for their names only.
    settings.scanning.disabled = True
