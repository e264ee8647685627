"""Whatever a resource says, as long as it is accepted: its manifests are valid, and always the same."""

import copy
import json
import re
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dumbkv_operator import children, names, render
from dumbkv_operator.children import AuthMaterial, Context
from dumbkv_operator.quantity import canonical
from dumbkv_operator.spec import parse
from tests.support.resources import body

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# A loaded machine is slow, which is nothing that these tests are about.
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CONTEXT = Context("image", AuthMaterial("token", "tokens"), "1 00")

labels = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,3}/[a-z]{1,8})?", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9]{0,8}", fullmatch=True),
    max_size=4,
)
hosts = st.from_regex(r"[a-z0-9]{1,12}(\.[a-z]{2,9}){0,3}", fullmatch=True)
object_names = st.from_regex(r"[a-z][a-z0-9]{0,12}", fullmatch=True)
quantities = st.from_regex(r"[1-9][0-9]{0,3}(Mi|Gi|M|G)", fullmatch=True)


def part(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects with any of `fields`."""
    return st.fixed_dictionaries({}, optional=fields)


common = {
    "image": object_names,
    "imagePullPolicy": st.sampled_from(["Always", "IfNotPresent", "Never"]),
    "imagePullSecrets": st.lists(part(name=object_names).filter(bool), max_size=3),
    "ingress": part(
        enabled=st.booleans(), host=hosts, clusterIssuer=st.just("") | object_names, annotations=labels
    ),
    "gateway": st.fixed_dictionaries(
        {
            "parentRef": st.fixed_dictionaries(
                {"name": object_names},
                optional={
                    "namespace": object_names,
                    "sectionName": object_names,
                    "port": st.integers(1, 65535),
                },
            )
        }
    ),
    "monitoring": part(enabled=st.booleans(), interval=st.sampled_from(["15s", "1m30s"]), labels=labels),
    "auth": part(enabled=st.booleans(), secretRef=st.fixed_dictionaries({"name": object_names})),
    "networkPolicy": part(enabled=st.booleans()),
    "resources": part(requests=st.fixed_dictionaries({"memory": quantities})),
    "nodeSelector": labels,
    "podAnnotations": labels,
    "podLabels": labels,
    "paused": st.booleans(),
    "suspended": st.booleans(),
    "priorityClassName": object_names,
    "serviceAccountName": object_names,
}
policies = st.sampled_from(["Retain", "Delete"])
sqlite = part(
    storage=part(
        size=quantities,
        storageClassName=object_names,
        accessModes=st.sampled_from([["ReadWriteOnce"], ["ReadWriteMany"], ["ReadWriteOncePod"]]),
        reclaimPolicy=policies,
    ),
    **common,
)
postgres = st.fixed_dictionaries(
    {
        "backend": st.just("postgres"),
        "postgres": st.fixed_dictionaries({"secretRef": st.fixed_dictionaries({"name": object_names})}),
    },
    optional={"replicas": st.integers(1, 100), "storage": part(reclaimPolicy=policies), **common},
)
bodies = st.builds(
    lambda name, spec: body(spec, name=name, namespace="team", uid="0-1"),
    st.from_regex(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?", fullmatch=True),
    sqlite | postgres,
)


@given(bodies)
@FEW
def test_any_accepted_spec_renders_valid_manifests(given_body: dict[str, Any]) -> None:
    before = copy.deepcopy(given_body)
    resource = parse(given_body)
    built = children.desired(resource, CONTEXT)
    assert given_body == before
    for child, manifest in built.items():
        if manifest is None:
            continue
        assert json.loads(json.dumps(manifest)) == manifest
        assert DNS_LABEL.fullmatch(manifest["metadata"]["name"])
        assert manifest["metadata"]["labels"].items() >= names.labels(resource.name).items()
        assert all(len(value) <= 63 for value in manifest["metadata"]["labels"].values())
        assert child.retained or manifest["metadata"]["ownerReferences"]
    deployment = built[children.DEPLOYMENT]
    assert deployment is not None
    assert_pod_is_consistent(deployment["spec"]["template"]["spec"])
    template = deployment["spec"]["template"]["metadata"]["labels"]
    assert template.items() >= deployment["spec"]["selector"]["matchLabels"].items()


def assert_pod_is_consistent(pod: dict[str, Any]) -> None:
    container = pod["containers"][0]
    volumes = [volume["name"] for volume in pod["volumes"]]
    assert sorted(volumes) == sorted(mount["name"] for mount in container["volumeMounts"])
    assert len(volumes) == len(set(volumes))
    for part_of_resources in container.get("resources", {}).values():
        assert all(canonical(value) == value for value in part_of_resources.values())


@given(bodies)
@FEW
def test_the_same_spec_renders_the_same_bytes(given_body: dict[str, Any]) -> None:
    again = copy.deepcopy(given_body)
    first, second = (render.to_yaml(render.manifests(parse(each), "image")) for each in (given_body, again))
    assert first == second


@given(bodies)
@FEW
def test_at_most_one_child_exposes_the_server(given_body: dict[str, Any]) -> None:
    built = children.desired(parse(given_body), CONTEXT)
    assert built[children.INGRESS] is None or built[children.HTTP_ROUTE] is None
