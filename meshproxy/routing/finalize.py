"""What a route does to a request on its way out, and which cluster it goes to.

The order is Envoy's (RouteEntryImplBase::finalizeRequestHeaders): the weighted cluster's own changes, the levels'
changes, then host and path are rewritten, and what they were is told the upstream in `x-envoy-original-host` and
`x-envoy-original-path`.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from itertools import accumulate
from typing import Any

from meshproxy.headers import RequestHeaders
from meshproxy.model.route import ForwardAction, Route, WeightedCluster
from meshproxy.routing.mutations import apply_mutations


def choose_cluster(
    action: ForwardAction, request: RequestHeaders, rng: random.Random, stream: Any
) -> tuple[str, WeightedCluster | None]:
    """The name of the cluster that a request goes to ("" when its header names none), and the weighted entry if any."""
    if action.cluster:
        return action.cluster, None
    if action.cluster_header:
        return _named_by(action.cluster_header, request), None
    chosen = _choose_weighted(action, request, rng, stream)
    return chosen.name or _named_by(chosen.cluster_header, request), chosen


def _named_by(header: str, request: RequestHeaders) -> str:
    return request.authority if header == ":authority" else request.get(header, "") or ""


def _choose_weighted(
    action: ForwardAction, request: RequestHeaders, rng: random.Random, stream: Any
) -> WeightedCluster:
    clusters = action.weighted_clusters
    weights: tuple[int, ...] = ()
    total = action.total_weight
    if action.weights:
        weights = tuple([weight.value for weight in action.weights])
        total = sum(weights)
        if not total:  # nobody is wanted: as they are configured
            weights, total = (), action.total_weight
    point = int(rng.random() * total)
    if action.weights_header:
        given = request.fields.get(action.weights_header, "")
        if given.isascii() and given.isdigit() and len(given) < 20:
            point = int(given) % total
    elif action.weights_by_hash and action.hash_policy is not None:
        action.hash_policy(stream)
        # A cookie that the client has yet to get says nothing of it; the router makes it when it chooses the host.
        if stream.lb_hash is not None and not stream.lb_cookies:
            point = stream.lb_hash % total
        stream.lb_hash, stream.lb_cookies = None, ()
    if weights:
        return clusters[bisect_right(list(accumulate(weights)), point)]
    for cluster in clusters:
        point -= cluster.weight
        if point < 0:
            return cluster
    return clusters[-1]


def changes_request(route: Route) -> bool:
    """Whether `finalize_request` can change anything for this route."""
    action = route.action
    return (
        bool(route.request_mutations)
        or not isinstance(action, ForwardAction)
        or (
            bool(action.weighted_clusters or action.host_rewrite or action.host_rewrite_header)
            or action.host_rewrite_path is not None
            or action.rewrite_path is not None
            or action.format_path is not None
            or action.format_host is not None
        )
    )


def finalize_request(
    route: Route, weighted: WeightedCluster | None, request: RequestHeaders, stream: Any, *, tell_original: bool
) -> None:
    """Apply everything the route does to the head. tell_original: add `x-envoy-original-path` and `-host`."""
    if weighted is not None and weighted.request_mutations:
        apply_mutations(weighted.request_mutations, request, stream)
    if route.request_mutations:
        apply_mutations(route.request_mutations, request, stream)
    action = route.action
    if isinstance(action, ForwardAction):
        _rewrite_host(action, weighted, request, stream, tell_original)
        if action.rewrite_path is not None:
            old = request.path
            new = action.rewrite_path(old)
            if new:
                request.path = new
                if tell_original:
                    request.fields["x-envoy-original-path"] = old
        elif action.format_path is not None:
            _format_path(action.format_path(stream), request, tell_original)


def _format_path(new: str, request: RequestHeaders, tell_original: bool) -> None:
    """Give the request a path that was made of what it says; one that isn't a path is left out."""
    if not new.startswith("/") or not new.isascii() or not new.isprintable() or " " in new:
        return
    old = request.path
    _, mark, query = old.partition("?")
    request.path = new + mark + query
    if tell_original:
        request.fields["x-envoy-original-path"] = old


def _rewrite_host(
    action: ForwardAction, weighted: WeightedCluster | None, request: RequestHeaders, stream: Any, tell_original: bool
) -> None:
    if weighted is not None and weighted.host_rewrite:
        request.authority = weighted.host_rewrite
        return
    new = action.host_rewrite
    if not new and action.host_rewrite_header:
        new = next(iter(request.get_all(action.host_rewrite_header)), "")
    if not new and action.format_host is not None:
        new = action.format_host(stream)
    if not new and action.host_rewrite_path is not None:
        new = action.host_rewrite_path(request.path.partition("?")[0])
    if new:
        set_authority(request, new, append_forwarded=action.append_x_forwarded_host, tell_original=tell_original)


def set_authority(request: RequestHeaders, new: str, *, append_forwarded: bool, tell_original: bool) -> None:
    """Change the authority, leaving the old one where Envoy leaves it."""
    old = request.authority
    if tell_original and old:
        request.fields["x-envoy-original-host"] = old
    if append_forwarded:
        before = request.get("x-forwarded-host")
        if before != old and not (before or "").endswith("," + old):
            request["x-forwarded-host"] = f"{before},{old}" if before else old
    request.authority = new
