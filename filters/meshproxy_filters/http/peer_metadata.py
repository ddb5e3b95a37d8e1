"""Istio's `peer_metadata` for HTTP: accepted, and does nothing.

Two of Istio's sidecars tell each other in headers who they are. Here nobody tells, and nobody believes a header: what
the metrics say of a peer comes from its certificate and from what the control plane says of an endpoint. A
configuration that has the filter runs all the same.
"""

from __future__ import annotations

from typing import Any, ClassVar

from meshproxy.plugin.http import HttpFilter


class PeerMetadata(HttpFilter[dict[str, Any]]):
    """See the module."""

    config_type: ClassVar[type[Any] | None] = dict

    @classmethod
    def is_active(cls, config: dict[str, Any]) -> bool:
        return False
