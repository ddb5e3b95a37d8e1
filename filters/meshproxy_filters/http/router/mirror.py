"""Mirroring: copies of a request go to other clusters while the original goes its way.

(envoy.config.route.v3.RouteAction.RequestMirrorPolicy; Envoy's documentation: "Traffic shadowing".) A copy is made of
the head as the route has changed it, and is given the body piece by piece as the original is. What comes back is
thrown away by the cluster (`Cluster.mirror`). A copy that can't be sent, or whose upstream is slower than the client,
is given up; the original never waits for it and doesn't fail with it.
"""

from __future__ import annotations

import random

from meshproxy.headers import RequestHeaders
from meshproxy.model.mirror import MirrorPolicy
from meshproxy.plugin.context import Stream
from meshproxy.plugin.upstream import HttpUpstream

Mirror = HttpUpstream


def start_mirrors(
    policies: tuple[MirrorPolicy, ...], stream: Stream, timeout: float, rng: random.Random
) -> tuple[Mirror, ...]:
    """Send the copies' heads. timeout: seconds for each copy's response, 0 for none."""
    started = []
    for policy in policies:
        if policy.covers is not None:
            number = stream.random_number
            if number < 0:
                number = stream.random_number = rng.getrandbits(63)
            if not policy.covers(number):
                continue
        name = policy.cluster or _named(policy.cluster_header, stream.request)
        cluster = stream.clusters.get(name) if name else None
        if cluster is not None:
            copy = _copy(policy, stream)
            span = stream.span.start_copy(copy, policy.sampled) if stream.span is not None else None
            mirror = cluster.mirror(copy, stream.request_end, timeout=timeout, span=span)
            if mirror is not None:
                started.append(mirror)
    return tuple(started)


def _named(header: str, request: RequestHeaders) -> str:
    return request.authority if header == ":authority" else request.get(header, "") or ""


def _copy(policy: MirrorPolicy, stream: Stream) -> RequestHeaders:
    request = stream.request
    copy = RequestHeaders(request.method, request.path, request.authority, request.scheme)
    copy.fields = dict(request.fields)
    copy.repeated = request.repeated
    copy.written = request.written
    if policy.host_rewrite:
        copy.authority = policy.host_rewrite
    elif policy.append_shadow:
        host, colon, port = copy.authority.partition(":")
        copy.authority = f"{host}-shadow{colon}{port}"
    for change in policy.mutations:
        change(copy, stream)
    return copy
