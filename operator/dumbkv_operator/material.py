"""The secrets that builders need: read from the cluster, or generated where there are none yet."""

import hashlib
import secrets
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dumbkv_operator import names
from dumbkv_operator.apply import NEED_PEPPERS
from dumbkv_operator.children import (
    AUTH_SECRET,
    CLAIM,
    DEPLOYMENT,
    PEPPER_SECRET,
    AuthMaterial,
    Child,
    Context,
)
from dumbkv_operator.client import Object
from dumbkv_operator.cluster import Cluster
from dumbkv_operator.conflicts import Block
from dumbkv_operator.reasons import Reason, Type
from dumbkv_operator.spec import Resource

Values = Mapping[str, str]

FIRST_PEPPER: Final = 1
PEPPER_BYTES: Final = 32
# For whoever edits the Secret; the servers follow it without a restart.
HOW_TO_ROTATE: Final = """\
# One pepper a line: its number (1 to 255) and 64 hex digits (openssl rand -hex 32). New values are written
# under the first, and all are read. Back this up: without it nobody reads the data again.
# To rotate: add a new one, under a new number. With several replicas as the second line, and as the first
# when every pod has it (two minutes later). A key moves to it when it is read or written.
# Take an old one out only when GET /databases counts no key under it: else the server asks for it again.
"""


def values(secret: Object | None) -> dict[str, str]:
    """Return what a Secret holds, decoded; nothing for None. Bytes that are no text are replaced."""
    data = (secret or {}).get("data") or {}
    return {key: b64decode(value).decode(errors="replace") for key, value in data.items()}


def new_peppers() -> str:
    """Return a new pepper file: one pepper of 256 random bits, and how it is replaced."""
    return f"{HOW_TO_ROTATE}{FIRST_PEPPER} {secrets.token_hex(PEPPER_BYTES)}\n"


def new_auth() -> AuthMaterial:
    """Return a new token that may do everything, and the server's file that admits it."""
    return auth_of(f"dkv_{secrets.token_urlsafe(32)}")


def auth_of(token: str) -> AuthMaterial:
    """Return the material for a token that exists already."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    return AuthMaterial(token=token, tokens=f"generated admin sha256:{digest}\n")


def complete_auth(found: Values) -> AuthMaterial:
    """Return what a generated Secret holds, with what is missing in it generated."""
    token, tokens = found.get("token"), found.get("tokens")
    if token and tokens:
        return AuthMaterial(token=token, tokens=tokens)
    if token:
        return auth_of(token)
    made = new_auth()
    # Tokens that clients use already stay valid beside the new one.
    return AuthMaterial(token=made.token, tokens=made.tokens + (tokens or ""))


@dataclass(frozen=True)
class Inputs:
    """What the builders get, and what keeps them from getting it."""

    context: Context
    blocks: list[Block]


async def gather(
    cluster: Cluster, resource: Resource, lost: Mapping[Child, Object], server_image: str
) -> Inputs:
    """Return what the builders need for `resource`, read from the cluster or generated.

    `lost` are the children that somebody deleted or emptied a moment ago: they are brought back as they were.
    """
    blocks: list[Block] = []
    context = Context(
        server_image=server_image,
        auth=await _auth(cluster, resource, lost, blocks),
        peppers=await _peppers(cluster, resource, lost, blocks),
        database_uri=await _database_uri(cluster, resource, blocks),
    )
    return Inputs(context, blocks)


async def _peppers(
    cluster: Cluster, resource: Resource, lost: Mapping[Child, Object], blocks: list[Block]
) -> str:
    found = {**values(lost.get(PEPPER_SECRET)), **values(await cluster.find(PEPPER_SECRET, resource))}
    if found.get("peppers", "").strip():
        return found["peppers"]
    if await _has_data(cluster, resource):
        blocks.append(
            Block(
                Type.DATABASE_READY,
                Reason.PEPPER_MISSING,
                f"The Secret {names.pepper_secret(resource.name)} (key peppers) is gone, and the data cannot "
                f"be read without it: restore it from a backup, with the label "
                f"{names.LABEL_OWNER}={resource.name}.",
                holds=NEED_PEPPERS | {PEPPER_SECRET},
            )
        )
    return new_peppers()


async def _has_data(cluster: Cluster, resource: Resource) -> bool:
    # Neither the binding nor the claim is made before the peppers (apply.NEED_PEPPERS).
    status = (cluster.body(resource.key) or {}).get("status") or {}
    return bool(status.get("binding")) or await cluster.find(CLAIM, resource) is not None


async def _auth(
    cluster: Cluster, resource: Resource, lost: Mapping[Child, Object], blocks: list[Block]
) -> AuthMaterial | None:
    auth = resource.spec.auth
    if not auth.enabled:
        return None
    if auth.secret_ref is None:
        generated = await cluster.find(AUTH_SECRET, resource)
        return complete_auth({**values(lost.get(AUTH_SECRET)), **values(generated)})
    found = await _named(cluster, resource, Type.WORKLOAD_READY, auth.secret_ref.name, "tokens", blocks)
    return AuthMaterial(token=found.get("token"), tokens=found.get("tokens", ""))


async def _database_uri(cluster: Cluster, resource: Resource, blocks: list[Block]) -> str | None:
    if resource.spec.postgres is None:
        return None
    reference = resource.spec.postgres.secret_ref
    found = await _named(cluster, resource, Type.DATABASE_READY, reference.name, reference.key, blocks)
    return found.get(reference.key)


async def _named(
    cluster: Cluster, resource: Resource, condition: Type, name: str, key: str, blocks: list[Block]
) -> Values:
    """Return what the user's own Secret holds; where it lacks `key`, the workload waits for that."""
    secret = await cluster.secret(resource.namespace, name)
    found = values(secret)
    if not found.get(key):
        if secret is None:
            reason, what = Reason.SECRET_MISSING, "create it"
        else:
            reason, what = Reason.SECRET_KEY_MISSING, "add it"
        blocks.append(
            Block(
                condition,
                reason,
                f"The Secret {name} with the key {key} is not in namespace {resource.namespace}: {what}; "
                "the server starts as soon as it is there.",
                holds=frozenset((DEPLOYMENT,)),
            )
        )
    return found
