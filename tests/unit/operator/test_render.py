import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dumbkv_operator import names, render
from dumbkv_operator.cli import app
from tests.support.resources import body, postgres

REPOSITORY = Path(__file__).parents[3]
IMAGE = "registry.example.com/server:1"


def run(*arguments: str, text: str | None = None, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["render", "--server-image", IMAGE, *arguments], input=text)
    assert result.exit_code == code, result.output
    return result


def documents(*bodies: Any) -> str:
    return yaml.safe_dump_all(bodies)


@pytest.mark.parametrize("sample", ["sqlite", "postgres"])
def test_the_standalone_manifests_are_what_the_samples_render_to(sample: str) -> None:
    file = REPOSITORY / "manifests" / "samples" / f"{sample}.yaml"
    result = CliRunner().invoke(app, ["render", "--standalone", "-f", str(file)])
    committed = REPOSITORY / "manifests" / "standalone" / sample / "dumbkv.yaml"
    assert result.stdout == committed.read_text(encoding="utf-8"), (
        f"dumbkv-operator render --standalone -f {file} > {committed}"
    )


def test_reads_standard_input_and_several_documents() -> None:
    text = documents(body(name="one"), None, body(postgres(), name="two"), {"kind": "Secret"})
    found = list(yaml.safe_load_all(run("-f", "-", text=text).stdout))
    deployments = [each["metadata"]["name"] for each in found if each["kind"] == "Deployment"]
    assert deployments == ["one", "two"]
    assert all("namespace" not in each["metadata"] for each in found)


def test_reads_a_list_and_keeps_the_owner_that_the_cluster_gave() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [body({}, namespace="team", uid="0-1")]}
    found = list(yaml.safe_load_all(run("-f", "-", text=json.dumps(listed)).stdout))
    deployment = next(each for each in found if each["kind"] == "Deployment")
    assert deployment["metadata"]["ownerReferences"][0]["uid"] == "0-1"
    assert deployment["metadata"]["namespace"] == "team"


def test_writes_json_as_one_list() -> None:
    found = json.loads(run("-f", "-", "-o", "json", text=documents(body())).stdout)
    assert found["kind"] == "List"
    assert "Deployment" in {each["kind"] for each in found["items"]}


@pytest.mark.parametrize("spec", [{}, postgres(auth={"secretRef": {"name": "mine"}})])
def test_no_secret_and_no_null_is_written(spec: Any) -> None:
    output = run("-f", "-", text=documents(body(spec))).stdout
    assert "kind: Secret" not in output
    assert "left out" not in output
    assert "null" not in output


def test_standalone_manifests_belong_to_no_operator() -> None:
    text = documents(body({}, uid="0-1"))
    output = run("-f", "-", "--standalone", text=text).stdout
    assert names.GROUP + "/" not in output
    assert names.LABEL_MANAGED_BY not in output


def test_the_image_can_be_set_and_the_resources_own_wins() -> None:
    text = documents(body(name="one"), body({"image": "mine:1"}, name="two"))
    found = list(yaml.safe_load_all(run("-f", "-", text=text).stdout))
    images = [
        each["spec"]["template"]["spec"]["containers"][0]["image"]
        for each in found
        if each["kind"] == "Deployment"
    ]
    assert images == [IMAGE, "mine:1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no DumbKV resource in it"),
        (documents({"kind": "Secret"}), "no DumbKV resource in it"),
        ("a: [", "not YAML"),
        ("just text", "document 1: not a Kubernetes object"),
        (documents(body(), body({"replicas": 2}, name="two")), "document 2 (DumbKV two): spec.replicas"),
        (documents(body({"replica": 2})), "no such field: spec.replica"),
        (documents(body() | {"apiVersion": "dumbkv.example.com/v1"}), "apiVersion must be"),
    ],
)
def test_says_what_is_wrong_and_where(text: str, message: str) -> None:
    result = run("-f", "-", text=text, code=1)
    assert message in result.stderr
    assert result.stdout == ""


def test_says_which_file_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in run("-f", str(tmp_path / "none.yaml"), code=1).stderr


def test_no_file_is_a_usage_error() -> None:
    assert "--filename" in run(code=2).stderr


def test_rendering_is_deterministic() -> None:
    resource = next(iter(render.resources(documents(body()))))
    assert render.manifests(resource, IMAGE) == render.manifests(resource, IMAGE)


def test_prints_its_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, "0.1.0\n")
