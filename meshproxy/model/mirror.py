"""Copies of requests (envoy.config.route.v3.RouteAction.RequestMirrorPolicy)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.records import dataclass

HeaderChange = Callable[[Any, Any], None]
"""One compiled `HeaderMutation`: changes a head; the second argument is the `StreamInfo`."""


@dataclass(frozen=True, slots=True, eq=False)
class MirrorPolicy:
    """A copy of a request goes to one more cluster, and what comes back is thrown away.

    cluster_header: the field that names the cluster, where `cluster` is "". covers: whether the fraction takes in a
    number drawn at random; None: it takes in all. append_shadow: the copy's host ends in `-shadow`.
    host_rewrite: the copy's host, "" to leave it as it is. sampled: whether its trace span is collected; None: if that
    of the request is.
    """

    cluster: str = ""
    cluster_header: str = ""
    covers: Callable[[int], bool] | None = None
    append_shadow: bool = True
    host_rewrite: str = ""
    sampled: bool | None = None
    mutations: tuple[HeaderChange, ...] = ()
