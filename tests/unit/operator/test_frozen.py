"""A change of a rendered pod template restarts every server at the operator's next upgrade.

The files in `frozen/` are what this version applies. Where a difference is meant, write them anew with
`python tests/unit/operator/test_frozen.py`, and say in the release notes that servers restart.
"""

from pathlib import Path

import pytest

from dumbkv_operator import children, render
from dumbkv_operator.children import AuthMaterial, Context
from dumbkv_operator.spec import parse
from tests.support.resources import VALID, body

FOLDER = Path(__file__).parent / "frozen"
CONTEXT = Context(
    server_image="registry.example.com/server:1",
    auth=AuthMaterial(token="dkv_token", tokens="admin admin sha256:00\n"),
    peppers="1 00\n",
    database_uri="postgres://user:pass@db:5432/kv",
)


def rendered(name: str) -> str:
    resource = parse(body(VALID[name], namespace="team", uid="0-1"))
    manifests = children.desired(resource, CONTEXT).values()
    return render.to_yaml([manifest for manifest in manifests if manifest is not None])


@pytest.mark.parametrize("name", VALID)
def test_an_operator_upgrade_restarts_no_pod(name: str) -> None:
    assert rendered(name) == (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def test_no_frozen_file_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(VALID)


if __name__ == "__main__":
    for each in VALID:
        (FOLDER / f"{each}.yaml").write_text(rendered(each), encoding="utf-8")
