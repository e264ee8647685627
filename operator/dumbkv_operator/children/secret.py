"""The generated Secrets, and the one that tells an application how to reach the server."""

from base64 import b64encode
from collections.abc import Mapping

from dumbkv_operator import names
from dumbkv_operator.children.base import Context, Manifest, metadata
from dumbkv_operator.spec import Resource


def build_auth(resource: Resource, context: Context) -> Manifest | None:
    """Return the Secret with the generated tokens, or None: authentication is off, or the user's own.

    Raises ValueError where the caller generated no token.
    """
    auth = resource.spec.auth
    if not auth.enabled or auth.secret_ref is not None:
        return None
    if context.auth is None or context.auth.token is None:
        raise ValueError(f"no token was generated for {resource.namespace}/{resource.name}")
    values = {"token": context.auth.token, "tokens": context.auth.tokens}
    return _secret(resource, names.auth_secret(resource.name), values, data=True)


def build_pepper(resource: Resource, context: Context) -> Manifest:
    """Return the Secret with the peppers: without it nobody can read what the database holds.

    Raises ValueError where the caller generated no pepper.
    """
    if not context.peppers:
        raise ValueError(f"no pepper was generated for {resource.namespace}/{resource.name}")
    return _secret(resource, names.pepper_secret(resource.name), {"peppers": context.peppers}, data=True)


def build_binding(resource: Resource, context: Context) -> Manifest:
    """Return the Secret that servicebinding.io's 'provisioned service' asks for."""
    host = resource.service_host
    values = {
        "type": "dumbkv",
        "provider": "dumbkv-operator",
        "host": host,
        "port": "80",
        "uri": f"http://{host}",
    }
    if resource.spec.auth.enabled and context.auth is not None and context.auth.token:
        values["token"] = context.auth.token
    name = names.binding_secret(resource.name)
    return _secret(resource, name, values, secret_type="servicebinding.io/dumbkv")  # noqa: S106


def _secret(
    resource: Resource,
    name: str,
    values: Mapping[str, str],
    *,
    data: bool = False,
    secret_type: str = "Opaque",  # noqa: S107
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(resource, name, data=data),
        "type": secret_type,
        "data": {key: b64encode(value.encode()).decode() for key, value in values.items()},
    }
