"""SLO.md, the rules of Prometheus and the programs' metrics say the same; alerts fire when they should."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric

from dumbkv_operator import metrics as operator_metrics
from dumbkv_server.metrics import Metrics

REPOSITORY = Path(__file__).parents[3]
DOCUMENT = (REPOSITORY / "SLO.md").read_text()
QUERIES = dict(re.findall(r"^```promql (\S+)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL))
RULES = yaml.safe_load((REPOSITORY / "manifests" / "monitoring" / "prometheus-rule.yaml").read_text())["spec"]
RECORDED = {
    rule["record"]: rule["expr"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule
}
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
WINDOW = re.compile(r"dumbkv:(\w+):error_ratio_(\w+)")
METRIC = re.compile(r"(?<![\w:-])dumbkv_[a-z_]+(?![\w:-])")


def names(families: Iterable[Metric]) -> set[str]:
    """Returns the names by which Prometheus knows the series of these families."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum", ""), "info": ("_info",)}
    return {family.name + suffix for family in families for suffix in suffixes.get(family.type, ("",))}


def test_each_metric_that_is_named_is_one_of_the_programs() -> None:
    assert operator_metrics.RECONCILES  # importing it is what registers the operator's metrics
    known = names(Metrics().registry.collect()) | names(REGISTRY.collect())
    named = set(METRIC.findall(DOCUMENT + yaml.safe_dump(RULES)))
    assert named
    assert named <= known, f"not measured by any program: {sorted(named - known)}"


@pytest.mark.parametrize("record", [name for name in RECORDED if WINDOW.fullmatch(name)])
def test_each_error_ratio_is_the_query_of_the_document(record: str) -> None:
    found = WINDOW.fullmatch(record)
    assert found is not None
    assert RECORDED[record] == QUERIES[found[1]].replace("30d", found[2])


def test_every_query_of_the_document_is_recorded() -> None:
    recorded = {found[1] for name in RECORDED if (found := WINDOW.fullmatch(name))}
    assert recorded | {"queue_age:exceeded"} == QUERIES.keys()
    assert RECORDED["dumbkv:queue_age:exceeded"] == QUERIES["queue_age:exceeded"]


def test_each_alert_reads_what_is_recorded_and_points_into_the_document() -> None:
    headings = {
        line.strip("# ").lower().replace(" ", "-") for line in DOCUMENT.splitlines() if line.startswith("#")
    }
    for name, alert in ALERTS.items():
        assert set(re.findall(r"dumbkv:[\w:]+", alert["expr"])) <= RECORDED.keys(), name
        assert alert["annotations"]["runbook_url"].rpartition("#")[2] in headings, name


def test_each_named_alert_exists() -> None:
    assert set(re.findall(r"`(DumbKV[A-Z]\w+)`", DOCUMENT)) <= ALERTS.keys()


def promtool(*arguments: str | Path) -> None:
    """Runs Prometheus' own tool; its words are the failure's."""
    program = shutil.which("promtool")
    assert program, "promtool is missing: install Debian's package `prometheus`, or `make packages`"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def rule_file(tmp_path: Path) -> Path:
    """What prometheus-operator makes of the resource: its specification as a file."""
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(RULES))
    return path


def test_prometheus_accepts_the_rules(rule_file: Path) -> None:
    promtool("check", "rules", rule_file)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", sorted(Path(__file__).parent.glob("alerts/*.yaml")), ids=lambda path: path.stem
)
def test_alerts_fire_when_they_should_and_only_then(case: Path, rule_file: Path, tmp_path: Path) -> None:
    tests: dict[str, Any] = yaml.safe_load(case.read_text())
    file = tmp_path / case.name
    # In file order: what is recorded is there when the alerts read it.
    order = [group["name"] for group in RULES["groups"]]
    file.write_text(yaml.safe_dump(tests | {"rule_files": [rule_file.name], "group_eval_order": order}))
    promtool("test", "rules", file)
