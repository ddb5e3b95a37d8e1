"""`core.v3.Metadata` as plain values: namespace to fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshproxy.plugin.view import ConfigView


def compile_metadata(view: ConfigView, field: str) -> Mapping[str, Mapping[str, Any]]:
    """The `filter_metadata` of a field; empty when it is unset."""
    metadata = view.view(field)
    if metadata is None:
        return {}
    return {namespace: struct.value for namespace, struct in metadata.struct_map("filter_metadata").items()}


def compile_subset_metadata(view: ConfigView, field: str) -> Mapping[str, Any] | None:
    """What a `metadata_match` asks of hosts: its namespace `envoy.lb`; None when there is none."""
    return compile_metadata(view, field).get("envoy.lb")
