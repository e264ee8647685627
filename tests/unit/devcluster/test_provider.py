from pathlib import Path

import pytest

from devcluster import provider
from devcluster.current import CurrentCluster
from devcluster.errors import ClusterError
from devcluster.kind import KindCluster
from devcluster.local import LocalCluster, packages


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(provider.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


def program(folder: Path, name: str, exit_status: int) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\nexit {exit_status}\n")
    path.chmod(0o755)


def test_without_kind_the_local_cluster_is_taken(tmp_path: Path) -> None:
    program(tmp_path, "docker", 0)
    assert isinstance(provider.choose(), LocalCluster)


def test_kind_is_taken_where_docker_answers(tmp_path: Path) -> None:
    program(tmp_path, "kind", 0)
    program(tmp_path, "docker", 0)
    assert isinstance(provider.choose(), KindCluster)


def test_kind_is_not_taken_where_docker_does_not_answer(tmp_path: Path) -> None:
    program(tmp_path, "kind", 0)
    program(tmp_path, "docker", 1)
    assert isinstance(provider.choose(), LocalCluster)


def test_the_current_context_is_never_taken_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text("{}")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    assert isinstance(provider.choose(), LocalCluster)
    assert isinstance(provider.choose("current"), CurrentCluster)
    monkeypatch.setenv(provider.VARIABLE, "current")
    assert isinstance(provider.choose(), CurrentCluster)


def test_the_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(provider.VARIABLE, "current")
    assert isinstance(provider.choose("local"), LocalCluster)


def test_an_unknown_provider_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ClusterError, match="auto, current, kind, local"):
        provider.choose("minikube")


def test_missing_packages_are_named_once(tmp_path: Path) -> None:
    program(tmp_path, "there", 0)
    needed = {"there": "present", "/nowhere/ctr": "containerd", "/nowhere/containerd": "containerd"}
    assert packages.missing(needed) == ["containerd"]
    with pytest.raises(ClusterError, match="install these packages and start again: containerd"):
        packages.ensure(needed)
