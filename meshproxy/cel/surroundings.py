"""What expressions see beside the stream; apart, because every configuration has it and few have expressions."""

from __future__ import annotations

from dataclasses import field

from meshproxy.model.snapshot import Node
from meshproxy.records import dataclass


@dataclass(slots=True)
class Surroundings:
    """What expressions see beside the stream. One for a whole configuration; filled when its bootstrap is read.

    node: None where Envoy shows none: to the conditions of policies, and to matchers.
    """

    node: Node | None = field(default_factory=Node)
