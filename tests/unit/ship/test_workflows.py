"""What runs in the project's name on GitHub cannot be exchanged under it, and may do no more than it must."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[3]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"\s*(- )?uses: [\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*")


def load(path: Path) -> dict[Any, Any]:
    parsed: dict[Any, Any] = yaml.safe_load(path.read_text())
    return parsed


def test_there_are_workflows() -> None:
    assert {path.stem for path in WORKFLOWS} >= {"tests", "e2e", "images"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_action_is_pinned_by_commit_with_its_version_beside_it(path: Path) -> None:
    uses = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert uses
    assert [line for line in uses if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_service_image_is_pinned_by_digest(path: Path) -> None:
    for job in load(path)["jobs"].values():
        for service in job.get("services", {}).values():
            assert re.search(r"@sha256:[0-9a-f]{64}$", service["image"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_permission_is_given_but_by_a_job_that_needs_it(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        writes = {permission for permission, access in job["permissions"].items() if access == "write"}
        assert path.stem == "images" or not writes, name
        assert job["timeout-minutes"], name
    assert workflow["concurrency"]["group"]


def test_images_are_published_from_main_and_tags_only() -> None:
    workflow = load(REPOSITORY / ".github" / "workflows" / "images.yml")
    # YAML 1.1 reads the key `on` as true.
    assert workflow[True] == {"push": {"branches": ["main"], "tags": ["v*"]}}
