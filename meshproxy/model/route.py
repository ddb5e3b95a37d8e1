"""Route tables: virtual hosts, routes, and what a route does with a request (envoy.config.route.v3).

Everything a request may ask is compiled before the first one comes: matchers and formatters are closures, header
changes of all levels are joined in the order they apply, inherited settings are already in each route.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from meshproxy.headers import RequestHeaders
from meshproxy.model.mirror import MirrorPolicy
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.model.rate_limit import RateLimit
from meshproxy.model.redirect import InternalRedirects
from meshproxy.model.retry import RetryPolicy
from meshproxy.model.route_counts import RouteCounts
from meshproxy.model.tracing import RouteTracing
from meshproxy.records import dataclass
from meshproxy.runtime_values import Live
from meshproxy.uri_template import Template

RequestPredicate = Callable[[RequestHeaders, Any], bool]
"""A condition of a route beside its path: asked with the request and its `StreamInfo`."""

ValueFormatter = Callable[[Any], str]
"""A compiled header value: `StreamInfo` -> text; "" when its operand is absent."""

PathRewrite = Callable[[str], str]
"""Path with query -> path with query; "" leaves the request what it has."""


@dataclass(frozen=True, slots=True)
class HeaderAddition:
    """One entry of `*_headers_to_add`.

    constant: the value when it doesn't depend on the stream; otherwise `format_value` is called.
    action: APPEND_IF_EXISTS_OR_ADD, ADD_IF_ABSENT, OVERWRITE_IF_EXISTS_OR_ADD or OVERWRITE_IF_EXISTS.
    """

    name: str
    constant: str | None
    format_value: ValueFormatter | None
    action: str = "APPEND_IF_EXISTS_OR_ADD"
    keep_empty_value: bool = False


@dataclass(frozen=True, slots=True)
class HeaderMutations:
    """What one level removes, then adds. Levels apply one after the other; an empty one is never stored.

    add: what overwrites stands before what adds. at_once: each has to see the headers as they were before the first.
    """

    remove: tuple[str, ...] = ()
    add: tuple[HeaderAddition, ...] = ()
    at_once: bool = False

    @classmethod
    def of(cls, remove: Sequence[str], add: Sequence[HeaderAddition]) -> HeaderMutations:
        ordered = sorted(add, key=lambda each: not each.action.startswith("OVERWRITE"))
        names = {each.name for each in add}
        alone = len(names) == len(add) and (len(add) == 1 or all(each.constant is not None for each in add))
        return cls(tuple(remove), tuple(ordered), not alone)


@dataclass(frozen=True, slots=True)
class PathMatch:
    """How a route matches the path without its query.

    kind: "prefix", "path", "regex" (matches whole), "path_separated_prefix" or "connect".
    value: the prefix or path, in lower case when `case_sensitive` is false.
    matches: only for "regex". template: what it was made of, if it was a URI template.
    """

    kind: str
    value: str = ""
    case_sensitive: bool = True
    matches: Callable[[str], bool] | None = None
    template: Template | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WeightedCluster:
    """One of a route's weighted clusters. cluster_header: of the request, names it; else `name` does."""

    name: str
    weight: int
    cluster_header: str = ""
    request_mutations: tuple[HeaderMutations, ...] = ()
    response_mutations: tuple[HeaderMutations, ...] = ()
    host_rewrite: str = ""
    metadata_match: Mapping[str, Any] | None = None
    per_filter_config: Mapping[str, Any] = field(default_factory=dict)


HashPolicy = Callable[[Any], None]
"""Sets `lb_hash` of a stream, and `lb_cookies` where the policy makes clients remember it."""


@dataclass(frozen=True, slots=True, eq=False)
class ForwardAction:
    """`route`: forward to a cluster. Exactly one of cluster, cluster_header and weighted_clusters is set.

    timeout: seconds for the whole response, 0 for none. idle_timeout: None inherits the connection manager's.
    max_stream_duration, grpc_timeout_header_max, grpc_timeout_header_offset: None when unset.
    max_grpc_timeout: what `grpc-timeout` may ask for in place of `timeout`, 0 for anything, None: it doesn't count;
    grpc_timeout_offset: what is taken off it.
    ends_connect: CONNECT goes no further than here: the tunnel's bytes go raw to a host (`connect_config`).
    tunnel_methods: what such a tunnel may be asked for with. connect_header: of the PROXY protocol, which the host gets
    first.
    weights_by_hash: the weighted cluster is chosen by what the hash policy makes of the request, if anything.
    weights: of the weighted clusters, where these follow the runtime.
    format_path, format_host: make the new path without its query, and the new authority; "" leaves them.
    flush_timeout: as `stream_flush_timeout` of the connection manager; None: that one.
    hedges: `hedge_on_per_try_timeout`: an attempt that takes too long goes on beside the next one.
    redirects: which redirects of the upstream are followed here; None: the client is told of all.
    """

    cluster: str = ""
    cluster_header: str = ""
    weighted_clusters: tuple[WeightedCluster, ...] = ()
    weights_header: str = ""
    weights_by_hash: bool = False
    total_weight: int = 0
    weights: tuple[Live[int], ...] = ()
    cluster_not_found_status: int = 503
    timeout: float = 15.0
    idle_timeout: float | None = None
    max_stream_duration: float | None = None
    grpc_timeout_header_max: float | None = None
    grpc_timeout_header_offset: float = 0.0
    max_grpc_timeout: float | None = None
    grpc_timeout_offset: float = 0.0
    retry_policy: RetryPolicy | None = None
    hedges: bool = False
    mirrors: tuple[MirrorPolicy, ...] = ()
    rewrite_path: PathRewrite | None = None
    format_path: ValueFormatter | None = None
    format_host: ValueFormatter | None = None
    flush_timeout: float | None = None
    host_rewrite: str = ""
    host_rewrite_header: str = ""
    host_rewrite_path: Callable[[str], str] | None = None
    auto_host_rewrite: bool = False
    append_x_forwarded_host: bool = False
    priority: str = "DEFAULT"
    upgrades: Mapping[str, bool] = field(default_factory=dict)
    ends_connect: bool = False
    tunnel_methods: tuple[str, ...] = ("CONNECT",)
    connect_header: ProxyHeaderOptions | None = None
    metadata_match: Mapping[str, Any] | None = None
    hash_policy: HashPolicy | None = None
    redirects: InternalRedirects | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RedirectAction:
    """`redirect`. location: of request and stream, the target. rewrite_path: what it makes of the request's path."""

    status: int
    location: Callable[[RequestHeaders, Any], str]
    rewrite_path: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DirectResponseAction:
    """`direct_response`. location: for a status of 201 or 3xx, what its `Location` is made of the request with.

    format_body: makes the body of the stream, which has `body` as its local reply's. content_type: of what that makes.
    """

    status: int
    body: bytes = b""
    location: Callable[[RequestHeaders, Any], str] | None = None
    format_body: ValueFormatter | None = None
    content_type: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class NonForwardingAction:
    """`non_forwarding_action`: matched, but nothing to forward to; the router answers as for no cluster."""


@dataclass(frozen=True, slots=True, eq=False)
class VirtualCluster:
    """A part of a virtual host's requests that is counted by itself; the last one, without a name, has the rest."""

    name: str
    conditions: tuple[RequestPredicate, ...]
    counts: RouteCounts


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One route, with what it inherits from its virtual host and table already joined in.

    conditions: headers, query parameters, fractions...: all must hold.
    request_mutations, response_mutations: one for each level that has some, in the order in which they apply.
    per_filter_config: filter name -> compiled configuration, most specific level first merged; the value is
        `FILTER_DISABLED` where the filter is switched off, `FILTER_ENABLED` where it is switched on as it is.
    """

    match: PathMatch
    action: ForwardAction | RedirectAction | DirectResponseAction | NonForwardingAction
    name: str = ""
    conditions: tuple[RequestPredicate, ...] = ()
    request_mutations: tuple[HeaderMutations, ...] = ()
    response_mutations: tuple[HeaderMutations, ...] = ()
    per_filter_config: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    decorator: str = ""
    decorator_propagate: bool = True
    tracing: RouteTracing | None = None
    stat_prefix: str = ""
    counts: tuple[RouteCounts, ...] = ()
    virtual_clusters: tuple[VirtualCluster, ...] = ()
    virtual_host: str = ""
    include_request_attempt_count: bool = False
    include_attempt_count_in_response: bool = False
    tells_timeout_retry: bool = False
    request_buffer_limit: int | None = None
    rate_limits: tuple[RateLimit, ...] = ()
    virtual_host_rate_limits: tuple[RateLimit, ...] = ()
    include_virtual_host_rate_limits: bool = False


FILTER_DISABLED = object()
"""Stands in `per_filter_config` for a filter that a route switches off."""

FILTER_ENABLED = object()
"""Stands there for a filter that a route switches on without a configuration of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class VirtualHost:
    """Routes for a set of domains, in lower case. require_tls: "NONE", "EXTERNAL_ONLY" or "ALL".

    tree: chooses by the stream which of the routes are looked at, instead of all in their order; None where there is no
    matcher tree. What it gives are routes of `routes`; None for nothing.
    """

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]
    require_tls: str = "NONE"
    virtual_clusters: tuple[VirtualCluster, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tree: Callable[[Any], tuple[Route, ...] | None] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RouteTable:
    """A RouteConfiguration. Domains are unique over all its virtual hosts (checked at compile).

    host_header: the field that virtual hosts are found by, "" for the authority. ignore_path_parameters: what follows a
    `;` in a segment isn't looked at when paths are matched.
    """

    name: str
    virtual_hosts: tuple[VirtualHost, ...] = ()
    internal_only_headers: tuple[str, ...] = ()
    ignore_port_in_host_matching: bool = False
    ignore_path_parameters: bool = False
    host_header: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
