"""Who we say we are to a management server (envoy.config.core.v3.Node).

The node of the bootstrap, with what the command line adds, and the client's own name. Two features are announced, both
of which a server may rely on: resources may come wrapped (`envoy.service.discovery.v3.Resource`) in state-of-the-world
responses, and may have a time to live.
"""

from __future__ import annotations

from typing import Any

from meshproxy.model.snapshot import Node
from meshproxy.runtime.version import version

_FEATURES = ("xds.config.resource-in-sotw", "xds.config.supports-resource-ttl")


def make_node(configured: Any, node: Node) -> Any:
    """The message. configured: that of the bootstrap. node: the same, compiled, with the command line's values."""
    message = type(configured)()
    message.CopyFrom(configured)
    message.id = node.id
    message.cluster = node.cluster
    if node.region or node.zone or node.sub_zone:
        message.locality.region = node.region
        message.locality.zone = node.zone
        message.locality.sub_zone = node.sub_zone
    message.user_agent_name = "meshproxy"
    message.user_agent_version = version()
    message.client_features.extend(feature for feature in _FEATURES if feature not in message.client_features)
    return message
