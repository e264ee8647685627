import json
import tomllib
from pathlib import Path

import pytest
import yaml

from devcluster.local import addons, components, configuration, credentials
from devcluster.local.spec import Files, Spec


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Spec(
        name="unit",
        block=2,
        nodes=2,
        scheduler=True,
        fake_nodes=False,
        kubernetes="/programs",
        coredns="/coredns",
    )


def test_a_specification_survives_being_stored(spec: Spec) -> None:
    spec.save()
    assert Files("unit").load() == spec
    assert Files("other").load() is None


def test_a_running_cluster_only_grows(spec: Spec) -> None:
    less = Spec(name="unit", block=-1, nodes=0, scheduler=False, fake_nodes=True, kubernetes="/programs")
    grown = spec.grown(less)
    assert (grown.block, grown.nodes, grown.scheduler, grown.fake_nodes) == (2, 2, True, True)


def test_every_process_of_a_node_is_one_of_its_own(spec: Spec) -> None:
    one, two = components.node(spec, 1), components.node(spec, 2)
    assert not {process.name for process in one} & {process.name for process in two}
    assert one[0].name == "node1.containerd"


def test_an_api_only_cluster_is_three_processes(spec: Spec) -> None:
    bare = Spec(name="unit", block=2, nodes=0, scheduler=False, fake_nodes=False, kubernetes="/programs")
    names = [process.name for process in components.control_plane(bare)]
    assert names == ["etcd", "kube-apiserver", "kube-controller-manager"]


def test_containerd_has_its_own_folders_and_a_local_pause_image(spec: Spec) -> None:
    content = tomllib.loads(configuration.containerd(spec, 2).read_text())
    assert content["root"] == f"{spec.files.node('node2')}/containerd"
    cri = content["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"] == configuration.TOOLS_IMAGE
    assert cri["restrict_oom_score_adj"] is True
    network = json.loads((Path(cri["cni"]["conf_dir"]) / "10-pods.conflist").read_text())
    assert network["plugins"][0]["ipam"]["ranges"] == [[{"subnet": str(spec.addresses.node_pods(2))}]]


def test_the_kubelet_asks_the_cluster_for_names_and_for_permission(spec: Spec) -> None:
    content = yaml.safe_load(configuration.kubelet(spec, 1).read_text())
    assert content["clusterDNS"] == [str(spec.addresses.dns)]
    assert content["authentication"]["anonymous"]["enabled"] is False
    assert content["cgroupRoot"] == "/dumbkv-unit/node1"


def test_the_dns_service_leads_to_coredns(spec: Spec) -> None:
    corefile = configuration.coredns(spec).read_text()
    assert f"bind {spec.addresses.control_plane}" in corefile
    manifests = addons.manifests(spec).values()
    slice_ = next(each for each in manifests if each["kind"] == "EndpointSlice")
    assert slice_["endpoints"][0]["addresses"] == [str(spec.addresses.control_plane)]


def test_credentials_are_secret_and_those_that_are_there_stay(spec: Spec) -> None:
    credentials.write(spec)
    before = spec.files.kubeconfig.read_text()
    assert spec.files.kubeconfig.stat().st_mode & 0o077 == 0
    assert (spec.files.certificates / "ca.key").stat().st_mode & 0o077 == 0
    credentials.write(spec)
    assert spec.files.kubeconfig.read_text() == before
    server = yaml.safe_load(before)["clusters"][0]["cluster"]["server"]
    assert server == f"https://{spec.addresses.api}:6443"
