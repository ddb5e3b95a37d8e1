"""What resources are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAME_FIELDS = {"envoy.config.endpoint.v3.ClusterLoadAssignment": "cluster_name"}


def resource_name(message: Any) -> str:
    """The name of a resource by its message."""
    return str(getattr(message, _NAME_FIELDS.get(message.DESCRIPTOR.full_name, "name"), ""))


def nack_message(type_url: str, errors: Mapping[str, str]) -> str:
    """What a control plane is told of refused resources, in Envoy's words."""
    text = "\n".join(f"{name}: {error}" for name, error in errors.items())
    kind = type_url.rpartition(".")[2]
    if kind in ("Listener", "Cluster"):
        return f"Error adding/updating {kind.lower()}(s) {text}"
    return text
