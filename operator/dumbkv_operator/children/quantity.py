"""Kubernetes quantities in the form in which the API server gives them back."""

from decimal import Decimal
from typing import Final

_BINARY: Final = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
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


def canonical(quantity: str | float) -> str:
    """Return `quantity` as the API server writes it: `1024Mi` is `1Gi`, `0.5` is `500m`.

    A child that is written in this form never differs from what the API server says it is.
    Source: the package comment of k8s.io/apimachinery/pkg/api/resource. A quantity with an exponent is
    returned as it is given.
    """
    text = str(quantity).removeprefix("+")
    if text.endswith("i"):
        value = Decimal(text[:-2]) * _BINARY[text[-2:]]
        return _binary(value)
    suffix = text[-1:] if text[-1:] in _DECIMAL else ""
    number = text.removesuffix(suffix)
    if "e" in number.lower():
        return text
    return _decimal(Decimal(number) * _DECIMAL[suffix])


def _binary(value: Decimal) -> str:
    if value != value.to_integral_value():
        return _decimal(value)
    for suffix, factor in reversed(_BINARY.items()):
        if value % factor == 0 and value:
            return f"{int(value // factor)}{suffix}"
    return "0"


def _decimal(value: Decimal) -> str:
    for suffix, factor in reversed(_DECIMAL.items()):
        if value and value % factor == 0:
            return f"{int(value // factor)}{suffix}"
    return "0"
