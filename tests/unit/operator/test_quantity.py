from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dumbkv_operator.quantity import amount, canonical


# Each pair was read back from an API server, version 1.36.
@pytest.mark.parametrize(
    ("given_as", "expected"),
    [
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        ("1.5Gi", "1536Mi"),
        ("100m", "100m"),
        ("1000m", "1"),
        (1, "1"),
        ("1000", "1k"),
        ("1500Ki", "1500Ki"),
        ("0.1Gi", "107374182400m"),
        ("0.3Ki", "307200m"),
        ("1.0001Gi", "1073849198183m"),
        ("0.0001", "1m"),
        ("1000k", "1M"),
        ("00", "0"),
    ],
)
def test_writes_a_quantity_as_the_api_server_does(given_as: str | int, expected: str) -> None:
    assert canonical(given_as) == expected


quantities = st.builds(
    lambda number, suffix: f"{number}{suffix}",
    st.decimals(0, 9999, places=2),
    st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi"]),
)


@given(quantities)
@settings(deadline=None)
def test_the_form_is_stable_and_never_less(quantity: str) -> None:
    written = canonical(quantity)
    assert canonical(written) == written
    assert Decimal(0) <= amount(written) - amount(quantity) < Decimal("0.001")
