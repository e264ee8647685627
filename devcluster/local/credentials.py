"""Writes the keys, certificates and kubeconfigs of a cluster: who may talk to whom, and as whom."""

import base64
import json

from devcluster import cache
from devcluster.local.certificates import Authority, Pair, new_key, private_pem, public_pem
from devcluster.local.spec import PORT, Files, Spec, node_names

SECRET = 0o600
# Who each component is; Kubernetes' own bootstrap roles are bound to these users and groups.
CLIENTS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager",),
    "kube-scheduler": ("system:kube-scheduler",),
    "kube-proxy": ("system:kube-proxy",),
    "coredns": ("system:coredns", "system:masters"),
    "local-path-provisioner": ("system:local-path-provisioner", "system:masters"),
    "kwok": ("system:kwok", "system:masters"),
}


def write(spec: Spec) -> None:
    """Write all that is still missing for this specification; what is there stays as it is."""
    files = spec.files
    authority = _authority(files)
    if not (files.certificates / "service-accounts.key").exists():
        _write_control_plane(spec, authority)
    for index, name in enumerate(node_names(spec.nodes), start=1):
        if not files.client(name).exists():
            address = spec.addresses.node(index)
            _write_pair(files, f"{name}-serving", authority.server(name, [name, address]))
            client = authority.client(f"system:node:{name}", "system:nodes")
            _write_kubeconfig(spec, authority, client, str(spec.addresses.control_plane), name)


def _authority(files: Files) -> Authority:
    key, certificate = files.certificates / "ca.key", files.certificates / "ca.crt"
    if key.exists() and certificate.exists():
        return Authority(Pair(key.read_text(), certificate.read_text()))
    authority = Authority.new(f"dumbkv-{files.name}")
    _write_pair(files, "ca", authority.pair)
    return authority


def _write_control_plane(spec: Spec, authority: Authority) -> None:
    files, addresses = spec.files, spec.addresses
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    own = ["127.0.0.1", str(addresses.control_plane), str(addresses.api), str(addresses.api_service)]
    _write_pair(files, "kube-apiserver", authority.server("kube-apiserver", [*names, *own]))
    _write_pair(files, "kubelet-client", authority.client("kube-apiserver-kubelet-client", "system:masters"))
    for client, (user, *groups) in CLIENTS.items():
        pair = authority.client(user, *groups)
        if client == "admin":
            _write_pair(files, client, pair)
        # kube-proxy also runs on the nodes: the bridge's address is right for it everywhere.
        _write_kubeconfig(spec, authority, pair, str(addresses.control_plane), client)
    admin = Pair(
        (files.certificates / "admin.key").read_text(), (files.certificates / "admin.crt").read_text()
    )
    content = _kubeconfig(spec.name, authority.pair.certificate, admin, str(addresses.api))
    cache.write(files.kubeconfig, content, SECRET)
    key = new_key()
    cache.write(files.certificates / "service-accounts.pub", public_pem(key))
    cache.write(files.certificates / "service-accounts.key", private_pem(key), SECRET)


def _write_pair(files: Files, name: str, pair: Pair) -> None:
    cache.write(files.certificates / f"{name}.key", pair.key, SECRET)
    cache.write(files.certificates / f"{name}.crt", pair.certificate)


def _write_kubeconfig(spec: Spec, authority: Authority, client: Pair, host: str, name: str) -> None:
    content = _kubeconfig(spec.name, authority.pair.certificate, client, host)
    cache.write(spec.files.client(name), content, SECRET)


def _kubeconfig(cluster: str, authority: str, client: Pair, host: str) -> str:
    name = f"dumbkv-{cluster}"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": f"https://{host}:{PORT}",
                    "certificate-authority-data": _base64(authority),
                },
            }
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": _base64(client.certificate),
                    "client-key-data": _base64(client.key),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    # JSON is YAML: no emitter is needed for what only programs read.
    return json.dumps(content, indent=2)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
