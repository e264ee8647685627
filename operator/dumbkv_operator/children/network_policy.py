"""The NetworkPolicy: who may talk to the server, and to whom it may talk."""

import re
from urllib.parse import parse_qs

from dumbkv_operator import names
from dumbkv_operator.children.base import HTTP_PORT, Context, Manifest, metadata
from dumbkv_operator.spec import Resource

POSTGRES_PORT = 5432


def build(resource: Resource, context: Context) -> Manifest | None:
    """Return the NetworkPolicy, or None: it is not wanted.

    The database is allowed by port, not by address: a policy cannot name a host.
    """
    if not resource.spec.network_policy.enabled:
        return None
    egress: list[Manifest] = [{"ports": [_port("UDP", 53), _port("TCP", 53)]}]
    if resource.spec.backend == "postgres":
        egress.append({"ports": [_port("TCP", port) for port in database_ports(context.database_uri)]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(resource, resource.name),
        "spec": {
            "podSelector": {"matchLabels": names.selector(resource.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [_port("TCP", HTTP_PORT)]}],
            "egress": egress,
        },
    }


def database_ports(uri: str | None) -> list[int]:
    """Return the TCP ports, in order, on which the servers of a `postgres://` URI listen.

    A URI may name several hosts, each with a port, or give `port` as a parameter (libpq, 'Connection URIs').
    Where none is to be read it is PostgreSQL's own.
    """
    if uri is None:
        return [POSTGRES_PORT]
    # As libpq reads it, and not as a URL: a password may hold a `#` or a `?`.
    address = re.fullmatch(r"\w+://(?:[^@/]*@)?(?P<hosts>[^/?]*)[^?]*(?:\?(?P<query>.*))?", uri, re.DOTALL)
    if address is None:
        return [POSTGRES_PORT]
    hosts = address["hosts"].split(",")
    texts = [host.rpartition("]")[2].rpartition(":")[2] for host in hosts if ":" in host.rpartition("]")[2]]
    for parameter in parse_qs(address["query"] or "").get("port", []):
        texts.extend(parameter.split(","))
    ports = {int(text) for text in texts if text.isascii() and text.isdigit() and 0 < int(text) < 65536}
    if len(texts) < len(hosts):
        ports.add(POSTGRES_PORT)
    return sorted(ports) or [POSTGRES_PORT]


def _port(protocol: str, port: int) -> Manifest:
    return {"protocol": protocol, "port": port}
