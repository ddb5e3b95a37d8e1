"""What a request asks of the hosts of a cluster with subsets.

From the least to the most specific, as in Envoy: the route's `metadata_match`, that of the weighted cluster, and the
request's own dynamic metadata under `envoy.lb`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshproxy.model.route import ForwardAction
from meshproxy.plugin.context import Stream


def wanted_metadata(action: ForwardAction, stream: Stream) -> Mapping[str, Any] | None:
    """Keys and values that a host must have; None for nothing."""
    wanted = action.metadata_match
    weighted = stream.weighted
    if weighted is not None and weighted.metadata_match is not None:
        wanted = {**(wanted or {}), **weighted.metadata_match}
    if stream.dynamic_metadata is not None:
        own = stream.dynamic_metadata.get("envoy.lb")
        if own:
            wanted = {**(wanted or {}), **own}
    return wanted
