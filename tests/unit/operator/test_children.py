import json
from base64 import b64decode
from typing import Any

import pytest

from dumbkv_operator import children, names
from dumbkv_operator.children import AuthMaterial, Child, Context, Manifest
from dumbkv_operator.spec import Resource, parse
from tests.support.resources import EVERYTHING, VALID, body, postgres

CONTEXT = Context(
    server_image="registry.example.com/server:1",
    auth=AuthMaterial(token="dkv_token", tokens="admin admin sha256:00\n"),
    peppers="1 00\n",
    database_uri="postgres://user:pass@db:6432/kv",
)


def resource(spec: Any = None) -> Resource:
    return parse(body(spec, namespace="team", uid="0-1"))


def built(child: Child, spec: Any = None, context: Context = CONTEXT) -> Any:
    return children.desired(resource(spec), context)[child]


def pod(spec: Any = None, context: Context = CONTEXT) -> Any:
    return built(children.DEPLOYMENT, spec, context)["spec"]["template"]["spec"]


def decoded(secret: Manifest) -> dict[str, str]:
    return {key: b64decode(value).decode() for key, value in secret["data"].items()}


def kinds(spec: Any) -> set[str]:
    return {
        child.name("store") + " " + child.kind
        for child, manifest in children.desired(resource(spec), CONTEXT).items()
        if manifest is not None
    }


COMMON = {
    "store Deployment",
    "store Service",
    "store NetworkPolicy",
    "store ServiceMonitor",
    "store-auth Secret",
    "store-pepper Secret",
    "store-binding Secret",
}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, COMMON | {"store-data PersistentVolumeClaim", "store Ingress"}),
        (postgres(), COMMON | {"store Ingress"}),
        (
            postgres(gateway={"parentRef": {"name": "edge"}}),
            COMMON | {"store HTTPRoute"},
        ),
        (postgres(ingress={"enabled": False}), COMMON),
        (
            VALID["closed"],
            {
                "store Deployment",
                "store Service",
                "store-pepper Secret",
                "store-binding Secret",
                "store-data PersistentVolumeClaim",
            },
        ),
        (
            postgres(auth={"secretRef": {"name": "mine"}}),
            (COMMON | {"store Ingress"}) - {"store-auth Secret"},
        ),
    ],
)
def test_makes_the_children_that_the_spec_wants(spec: Any, expected: set[str]) -> None:
    assert kinds(spec) == expected


@pytest.mark.parametrize("name", VALID)
def test_every_child_says_what_it_is_and_whose(name: str) -> None:
    for child, manifest in children.desired(resource(VALID[name]), CONTEXT).items():
        if manifest is None:
            continue
        assert (manifest["kind"], manifest["apiVersion"]) == (child.kind, child.api_version)
        metadata = manifest["metadata"]
        assert (metadata["name"], metadata["namespace"]) == (child.name("store"), "team")
        assert metadata["labels"].items() >= names.labels("store").items()
        assert (metadata["labels"].get(names.LABEL_OWNER) == "store") is child.retained


@pytest.mark.parametrize("child", children.CHILDREN, ids=lambda child: child.name("store") + child.kind)
@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_data_has_no_owner_reference_unless_it_is_to_be_deleted(child: Child, policy: str) -> None:
    spec: dict[str, Any] = {"storage": {"reclaimPolicy": policy}}
    if child is children.HTTP_ROUTE:
        spec["gateway"] = {"parentRef": {"name": "edge"}}
    references = built(child, spec)["metadata"].get("ownerReferences", [])
    if child.retained and policy == "Retain":
        assert references == []
    else:
        assert references == [
            {
                "apiVersion": "dumbkv.example.com/v1alpha1",
                "kind": "DumbKV",
                "name": "store",
                "uid": "0-1",
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ]


def test_sqlite_is_replaced_never_doubled() -> None:
    deployment = built(children.DEPLOYMENT)["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate", "rollingUpdate": None}
    assert "lifecycle" not in deployment["template"]["spec"]["containers"][0]


def test_several_servers_on_postgres_replace_each_other_without_a_gap() -> None:
    deployment = built(children.DEPLOYMENT, postgres(replicas=3))["spec"]
    assert deployment["replicas"] == 3
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] > 0


def test_a_second_replica_restarts_no_pod() -> None:
    one, two = (built(children.DEPLOYMENT, postgres(replicas=replicas))["spec"] for replicas in (1, 2))
    assert one["strategy"]["type"] == "Recreate"
    assert one["template"] == two["template"]


def test_suspended_means_no_replica() -> None:
    assert built(children.DEPLOYMENT, postgres(replicas=3, suspended=True))["spec"]["replicas"] == 0


@pytest.mark.parametrize("spec", [{}, postgres()])
def test_the_pod_meets_the_restricted_standard(spec: Any) -> None:
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    container = pod(spec)["containers"][0]
    assert pod(spec)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert pod(spec)["automountServiceAccountToken"] is False
    assert pod(spec)["enableServiceLinks"] is False
    writable = {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable <= {"tmp", "data"}


def test_the_database_is_on_a_folder_of_the_volume() -> None:
    container = pod()["containers"][0]
    assert {"name": "DATABASE_LOCATION", "value": "/dumbkvstore/dumbkv.db"} in container["env"]
    assert {"name": "data", "mountPath": "/dumbkvstore", "subPath": "dumbkvstore"} in container[
        "volumeMounts"
    ]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "store-data"}} in pod()["volumes"]


def test_secrets_reach_the_server_as_files_only() -> None:
    spec = postgres(postgres={"secretRef": {"name": "app", "key": "dsn"}})
    environment = {each["name"]: each["value"] for each in pod(spec)["containers"][0]["env"]}
    assert environment == {
        "DATABASE_TYPE": "postgres",
        "DATABASE_LOCATION_FILE": "/etc/dumbkv/database/uri",
        "DUMBKV_PEPPER_FILE": "/etc/dumbkv/pepper/peppers",
        "DUMBKV_AUTH_TOKENS_FILE": "/etc/dumbkv/auth/tokens",
    }
    secrets = {each["name"]: each["secret"] for each in pod(spec)["volumes"] if "secret" in each}
    assert {name: (each["secretName"], each["items"]) for name, each in secrets.items()} == {
        "database": ("app", [{"key": "dsn", "path": "uri"}]),
        "pepper": ("store-pepper", [{"key": "peppers", "path": "peppers"}]),
        "auth": ("store-auth", [{"key": "tokens", "path": "tokens"}]),
    }
    assert {each["defaultMode"] for each in secrets.values()} == {0o440}
    folders = {each["name"]: each["mountPath"] for each in pod(spec)["containers"][0]["volumeMounts"]}
    assert {folders[name] for name in secrets} == {
        "/etc/dumbkv/database",
        "/etc/dumbkv/pepper",
        "/etc/dumbkv/auth",
    }


def test_the_users_own_tokens_are_mounted_in_place_of_generated_ones() -> None:
    volumes = {each["name"]: each for each in pod({"auth": {"secretRef": {"name": "mine"}}})["volumes"]}
    assert volumes["auth"]["secret"]["secretName"] == "mine"


def test_without_authentication_no_tokens_are_mounted() -> None:
    rendered = json.dumps(pod({"auth": {"enabled": False}}))
    assert "auth" not in rendered
    assert "TOKENS" not in rendered


def test_the_pod_is_ready_as_soon_as_it_serves() -> None:
    container = pod()["containers"][0]
    assert container["startupProbe"]["periodSeconds"] == 1
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    # A database that is away must not restart servers.
    assert container["startupProbe"]["httpGet"]["path"] == "/livez"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_the_pods_fields_go_into_the_pod() -> None:
    template = built(children.DEPLOYMENT, EVERYTHING)["spec"]["template"]
    for field in (
        "imagePullSecrets",
        "nodeSelector",
        "affinity",
        "topologySpreadConstraints",
        "priorityClassName",
        "serviceAccountName",
    ):
        assert template["spec"][field] == EVERYTHING[field]
    container = template["spec"]["containers"][0]
    assert container["image"] == EVERYTHING["image"]
    assert container["imagePullPolicy"] == EVERYTHING["imagePullPolicy"]
    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": "512Mi"},
        "limits": {"cpu": "1500m", "memory": "1Gi"},
    }
    assert template["metadata"]["annotations"] == EVERYTHING["podAnnotations"]
    assert template["metadata"]["labels"] == {"team": "storage"} | names.labels("store")


def lost_node(taint: str, seconds: int) -> dict[str, Any]:
    key = f"node.kubernetes.io/{taint}"
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ([], ["not-ready", "unreachable"]),
        (EVERYTHING["tolerations"], ["not-ready", "unreachable"]),
        ([lost_node("unreachable", 600)], ["not-ready"]),
        ([{"operator": "Exists"}], []),
        ([{"operator": "Exists", "effect": "NoExecute"}], []),
        ([{"operator": "Exists", "effect": "NoSchedule"}], ["not-ready", "unreachable"]),
    ],
)
def test_pods_leave_a_lost_node_soon_unless_the_resource_says_when(
    given: list[dict[str, Any]], added: list[str]
) -> None:
    assert pod({"tolerations": given})["tolerations"] == given + [lost_node(taint, 30) for taint in added]


def test_a_server_waits_for_the_owner_of_its_file() -> None:
    environment = pod()["containers"][0]["env"]
    assert {"name": "DUMBKV_WAIT_FOR_OWNER", "value": "true"} in environment


def test_the_operators_server_image_is_the_default() -> None:
    assert pod()["containers"][0]["image"] == CONTEXT.server_image


def test_the_claim_asks_for_what_the_spec_says() -> None:
    assert built(children.CLAIM, EVERYTHING)["spec"] == {
        "accessModes": ["ReadWriteOncePod"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "1Gi"}},
    }


def test_the_service_is_on_port_80_and_selects_the_pods() -> None:
    service = built(children.SERVICE)["spec"]
    assert service["ports"] == [
        {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}
    ]
    template = built(children.DEPLOYMENT)["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= template.items()


def test_the_ingress_serves_the_host_with_a_certificate() -> None:
    ingress = built(children.INGRESS, EVERYTHING)
    assert ingress["metadata"]["annotations"] == {
        "nginx.ingress.kubernetes.io/proxy-body-size": "8m",
        "cert-manager.io/cluster-issuer": "internal",
    }
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"] == [{"hosts": ["kv.example.org"], "secretName": "store-tls"}]
    assert ingress["spec"]["rules"][0]["host"] == "kv.example.org"
    path = ingress["spec"]["rules"][0]["http"]["paths"][0]
    assert (path["path"], path["pathType"]) == ("/", "Prefix")
    assert path["backend"]["service"] == {"name": "store", "port": {"name": "http"}}


def test_without_an_issuer_no_certificate_is_asked_for() -> None:
    assert "annotations" not in built(children.INGRESS, {"ingress": {"clusterIssuer": ""}})["metadata"]


def test_an_annotation_of_the_users_wins() -> None:
    annotations = {"cert-manager.io/cluster-issuer": "mine"}
    ingress = built(children.INGRESS, {"ingress": {"annotations": annotations}})
    assert ingress["metadata"]["annotations"] == annotations


def test_the_route_attaches_to_the_gateway() -> None:
    route = built(children.HTTP_ROUTE, VALID["gateway"])["spec"]
    assert route["parentRefs"] == [
        {"name": "edge", "namespace": "infra", "sectionName": "https", "port": 443}
    ]
    assert route["hostnames"] == ["kv.example.org"]
    assert route["rules"][0]["backendRefs"] == [{"name": "store", "port": 80}]


def test_the_monitor_finds_the_service() -> None:
    monitor = built(children.SERVICE_MONITOR, EVERYTHING)
    assert monitor["metadata"]["labels"]["team"] == "storage"
    assert "release" not in monitor["metadata"]["labels"]
    assert monitor["spec"]["endpoints"] == [{"port": "http", "path": "/metrics", "interval": "1m"}]
    assert monitor["spec"]["selector"]["matchLabels"] == names.selector("store")


def test_traffic_is_limited_to_what_the_server_needs() -> None:
    dns = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
    sqlite = built(children.NETWORK_POLICY)["spec"]
    assert sqlite["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8000}]}]
    assert sqlite["egress"] == [dns]
    assert sqlite["policyTypes"] == ["Ingress", "Egress"]
    assert built(children.NETWORK_POLICY, postgres())["spec"]["egress"] == [
        dns,
        {"ports": [{"protocol": "TCP", "port": 6432}]},
    ]


@pytest.mark.parametrize(
    ("uri", "ports"),
    [
        (None, [5432]),
        ("", [5432]),
        ("postgres://db/kv", [5432]),
        ("postgresql://user:p%40ss@db.example.com:6432/kv?sslmode=require", [6432]),
        ("postgres://user:1234@db/kv", [5432]),
        ("postgres://a:1111,b:2222/kv", [1111, 2222]),
        ("postgres://a,b:2222/kv", [2222, 5432]),
        ("postgres://[2001:db8::1]:6432/kv", [6432]),
        ("postgres://[2001:db8::1]/kv", [5432]),
        ("postgres://user:p#a?b@db:6432/kv?sslmode=require", [6432]),
        ("postgres:///kv?host=db&port=6000", [6000]),
        ("postgres://db:port/kv", [5432]),
        ("postgres://[broken/kv", [5432]),
    ],
)
def test_the_databases_ports_are_read_from_its_uri(uri: str | None, ports: list[int]) -> None:
    assert children.network_policy.database_ports(uri) == ports


def test_the_generated_secrets_hold_the_material() -> None:
    assert decoded(built(children.AUTH_SECRET)) == {"token": "dkv_token", "tokens": "admin admin sha256:00\n"}
    assert decoded(built(children.PEPPER_SECRET)) == {"peppers": "1 00\n"}


@pytest.mark.parametrize("context", [Context("image", None, "1 00"), Context("image", CONTEXT.auth, "")])
def test_secrets_are_never_made_of_nothing(context: Context) -> None:
    with pytest.raises(ValueError, match="was generated for team/store"):
        children.desired(resource(), context)


def test_the_binding_says_how_to_reach_the_server() -> None:
    binding = built(children.BINDING_SECRET)
    assert binding["type"] == "servicebinding.io/dumbkv"
    assert decoded(binding) == {
        "type": "dumbkv",
        "provider": "dumbkv-operator",
        "host": "store.team.svc",
        "port": "80",
        "uri": "http://store.team.svc",
        "token": "dkv_token",
    }


@pytest.mark.parametrize(
    ("spec", "auth"),
    [
        ({"auth": {"enabled": False}}, None),
        ({"auth": {"secretRef": {"name": "mine"}}}, AuthMaterial(token=None, tokens="a read sha256:00")),
    ],
)
def test_the_binding_has_no_token_where_none_is_known(spec: Any, auth: AuthMaterial | None) -> None:
    assert "token" not in decoded(built(children.BINDING_SECRET, spec, Context("image", auth, "1 00")))


def test_what_the_pod_needs_is_applied_before_the_pod() -> None:
    order = list(children.CHILDREN)
    before = {children.PEPPER_SECRET, children.AUTH_SECRET, children.CLAIM, children.NETWORK_POLICY}
    assert set(order[: order.index(children.DEPLOYMENT)]) == before


@pytest.mark.parametrize("child", children.CHILDREN, ids=lambda child: child.name("store") + child.kind)
def test_only_an_optional_child_is_ever_left_out(child: Child) -> None:
    assert any(built(child, spec) is None for spec in VALID.values()) is child.optional
