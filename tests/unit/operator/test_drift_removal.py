"""What has to be taken away before a manifest can be applied."""

import pytest

from dumbkv_operator.drift import removal

RECREATE = {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}, "replicas": 1}}
ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}


def test_a_field_that_must_not_be_there_goes_with_what_stands_beside_it() -> None:
    assert removal(RECREATE, {"spec": {"strategy": ROLLING, "replicas": 3}}) == {
        "spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}
    }


@pytest.mark.parametrize("observed", [{}, {"spec": {}}, {"spec": {"strategy": {"type": "RollingUpdate"}}}])
def test_nothing_is_taken_away_where_nothing_is(observed: dict[str, object]) -> None:
    assert removal(RECREATE, observed) == {}
