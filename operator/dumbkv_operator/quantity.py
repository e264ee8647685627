"""Kubernetes quantities: how much they are, and the form in which the API server gives them back.

Source: the package comment of k8s.io/apimachinery/pkg/api/resource. Quantities with an exponent (`1e3`),
which the CRD does not accept, are not covered.
"""

from decimal import ROUND_CEILING, Decimal
from typing import Final

_BINARY: Final = {
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
_DECIMAL: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal("1e3"),
    "M": Decimal("1e6"),
    "G": Decimal("1e9"),
    "T": Decimal("1e12"),
    "P": Decimal("1e15"),
    "E": Decimal("1e18"),
}


def amount(quantity: str | int) -> Decimal:
    """Return how much `quantity` is, in its base unit: `500m` is 0.5, `1Ki` is 1024."""
    number, factor = _split(str(quantity))
    return Decimal(number) * factor


def canonical(quantity: str | int) -> str:
    """Return `quantity` as the API server writes it: `1024Mi` is `1Gi`, `0.5` is `500m`.

    A child that is written in this form never differs from what the API server says it is. It rounds amounts
    of resources up to thousandths (SetDefaults_ResourceList in k8s.io/kubernetes/pkg/apis/core/v1).
    """
    value = amount(quantity).quantize(_DECIMAL["m"], ROUND_CEILING)
    if value == 0:
        return "0"
    # A binary amount below 1Ki, or with a fraction, is written in decimal form.
    binary = str(quantity).endswith("i") and value >= 1024 and value == value.to_integral_value()
    units = _BINARY if binary else _DECIMAL
    for suffix, factor in reversed(units.items()):
        if value % factor == 0:
            return f"{int(value // factor)}{suffix}"
    return f"{int(value)}"


def _split(text: str) -> tuple[str, Decimal]:
    if text[-2:] in _BINARY:
        return text[:-2], _BINARY[text[-2:]]
    if text[-1:] in _DECIMAL:
        return text[:-1], _DECIMAL[text[-1:]]
    return text, Decimal(1)
