"""What the manifests grant the operator is enough: it does all its work under its own ServiceAccount."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.operator.conftest import Operator, World
from tests.support.api import Api
from tests.support.eventually import eventually

RBAC = Path(__file__).parents[2] / "manifests" / "operator" / "rbac.yaml"
OWN_NAMESPACE = ("-n", "dumbkv-system")


@pytest.fixture
def kubeconfig(api: Api, tmp_path: Path) -> Path:
    """Grant what the manifests grant, and return a kubeconfig of the operator's ServiceAccount."""
    granted = api.kubectl("apply", *OWN_NAMESPACE, "-f", str(RBAC))
    assert granted.returncode == 0, granted.stderr
    token = api.kubectl("create", "token", "dumbkv-operator", *OWN_NAMESPACE)
    assert token.returncode == 0, token.stderr
    config = yaml.safe_load(api.kubectl("config", "view", "--raw", "--minify").stdout)
    config["users"][0]["user"] = {"token": token.stdout.strip()}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def is_gone(world: World, plural: str) -> bool:
    return world.find(plural, "kv") is None


def test_the_operator_does_all_its_work_under_its_own_account(
    operator: Operator, operate: Callable[..., Operator], kubeconfig: Path, world: World
) -> None:
    operator.stop()
    limited = operate("limited", KUBECONFIG=str(kubeconfig))
    limited.start()
    try:
        eventually(lambda: limited.leading, "the operator to lead", 20)
        world.secret("database", uri="postgres://user:password@db:6432/kv")
        world.apply("pg", {"backend": "postgres", "postgres": {"secretRef": {"name": "database"}}})
        world.apply("kv")
        for name in ("kv", "pg"):
            world.make_ready(name)
        world.delete("services", "kv")
        eventually(lambda: world.find("services", "kv"), "the Service to be back", 20)
        world.apply("kv", {"ingress": {"enabled": False}, "networkPolicy": {"enabled": False}})
        for plural in ("ingresses", "networkpolicies"):
            eventually(partial(is_gone, world, plural), f"{plural} to go", 20)
        assert "forbidden" not in limited.log.lower()
    finally:
        limited.stop()
