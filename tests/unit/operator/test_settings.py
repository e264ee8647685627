"""The operator's settings are refused where they would break a promise."""

import pytest
from pydantic import ValidationError

from dumbkv_operator.settings import Settings


@pytest.mark.parametrize(
    ("retry", "renew", "duration"), [("2", "15", "15"), ("10", "10", "15"), ("1", "20", "15")]
)
def test_a_lease_that_two_could_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, retry: str, renew: str, duration: str
) -> None:
    monkeypatch.setenv("DUMBKV_OPERATOR_LEASE_RETRY_SECONDS", retry)
    monkeypatch.setenv("DUMBKV_OPERATOR_LEASE_RENEW_DEADLINE_SECONDS", renew)
    monkeypatch.setenv("DUMBKV_OPERATOR_LEASE_DURATION_SECONDS", duration)
    with pytest.raises(ValidationError, match="must be less than"):
        Settings()
