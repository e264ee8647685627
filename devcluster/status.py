"""What is told of a cluster, whoever provides it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Status:
    """What a cluster is now."""

    provider: str
    name: str
    running: bool
    nodes: Mapping[str, bool] = field(default_factory=dict)
    components: Mapping[str, str] = field(default_factory=dict)
