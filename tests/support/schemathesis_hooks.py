"""What schemathesis must not count as a mistake of the server.

JSON Schema takes 47.0 for an integer. The server does not: a client that sends a fraction where a whole
number belongs is told so (422).
"""

from typing import Any

import schemathesis


@schemathesis.hook
def filter_body(_context: Any, body: Any) -> bool:
    """Drops bodies that hold a whole number spelt as a fraction."""
    return not _has_whole_fraction(body)


def _has_whole_fraction(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_whole_fraction(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_whole_fraction(item) for item in value)
    return isinstance(value, float) and value.is_integer()
