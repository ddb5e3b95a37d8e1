"""The layers that the runtime is made of (envoy.config.bootstrap.v3.LayeredRuntime)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from meshproxy.model.discovery import ConfigSource
from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class RuntimeEntry:
    """What a layer says of a key. value: what it means, see `RuntimeValues`. text: as it was written, for the admin."""

    value: Any
    text: str


@dataclass(frozen=True, slots=True)
class RuntimeLayer:
    """One layer; a later one wins over those before it.

    entries: of a static layer. directory: of a disk layer: whose files are its entries. link: what is moved to bring
    another directory into force. resource, source: what an RTDS layer asks for, and of whom.
    """

    name: str
    kind: Literal["static", "admin", "disk", "rtds"]
    entries: Mapping[str, RuntimeEntry] = field(default_factory=dict)
    directory: str = ""
    link: str = ""
    resource: str = ""
    source: ConfigSource | None = None


def values_of(layers: list[Mapping[str, RuntimeEntry]]) -> dict[str, Any]:
    """What counts when these layers lie one on the other."""
    return {key: entry.value for layer in layers for key, entry in layer.items()}
