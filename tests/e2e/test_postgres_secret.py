"""What a user sees who applies a postgres DumbKV before the database's Secret is there."""

from devcluster.kubectl import Kubectl
from tests.e2e.conftest import Instance, postgres_manifests


def test_a_missing_secret_is_told_and_heals_by_itself(kubectl: Kubectl) -> None:
    spec = {
        "backend": "postgres",
        "postgres": {"secretRef": {"name": "late"}},
        "ingress": {"host": "late.example.com"},
    }
    instance = Instance(kubectl, "waits", spec)
    instance.apply()
    told = instance.wait_condition("DatabaseReady", "False", "SecretMissing")
    assert "late" in told["message"]
    assert instance.conditions()["Ready"]["status"] == "False"
    kubectl.apply(*postgres_manifests("late"))
    instance.wait_ready()
