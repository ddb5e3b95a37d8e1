"""The HTTP connection manager's options (envoy.extensions.filters.network.http_connection_manager.v3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from meshproxy.address import CidrSet
from meshproxy.model.client_detection import ClientDetection
from meshproxy.model.codec import Http1Options, Http2Options
from meshproxy.model.listener import AccessLog, FilterSpec
from meshproxy.model.mirror import HeaderChange
from meshproxy.model.route import HeaderMutations
from meshproxy.model.route_slot import RouteSlot
from meshproxy.model.tracing import TracingConfig
from meshproxy.records import dataclass

_HTTP1 = Http1Options()
_HTTP2 = Http2Options()


@dataclass(frozen=True, slots=True)
class UpgradeConfig:
    """One `upgrade_configs` entry: whether this protocol may be asked for by default, and its own filters, if any."""

    enabled: bool = True
    filters: tuple[FilterSpec, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LocalReplyMapper:
    """One mapper of `local_reply_config`: the first whose predicate holds changes the reply."""

    predicate: Callable[[Any], bool]
    status: int | None = None
    body: str | None = None
    mutations: HeaderMutations = HeaderMutations()
    format_body: Callable[[Any], str] | None = None
    content_type: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class LocalReplyConfig:
    """`local_reply_config`: mappers in order, then the default format of bodies."""

    mappers: tuple[LocalReplyMapper, ...] = ()
    format_body: Callable[[Any], str] | None = None
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class ProxyStatusConfig:
    """`proxy_status_config`. name: the proxy's. details: told at all; termination_details, flags: told among them.

    sets_status: a response gets the status that is recommended for its error.
    """

    name: str
    details: bool
    termination_details: bool
    flags: bool
    sets_status: bool


@dataclass(frozen=True, slots=True, eq=False)
class HttpConnectionManagerConfig:
    """Everything of a connection manager that a request can meet. Times in seconds; 0 switches a limit off.

    codec_type: "AUTO", "HTTP1" or "HTTP2".
    routes: where the routes stand: fixed when they are in the configuration, filled by discovery else.
    internal_addresses: None when unset: no address is internal then.
    client_detection: who says who the client is, without use_remote_address; empty: X-Forwarded-For.
    shows_ipv4_as_ipv6: in X-Forwarded-For an IPv4 peer is written as IPv6 (`::ffff:1.2.3.4`).
    tells_addresses: PROXY protocol headers to upstreams name the client's connection.
    stream_flush_timeout: for what is left of a response that the client doesn't read; None: as `stream_idle_timeout`.
    log_new_requests, log_interval, log_tunnels: rows of the access log when a request begins, this often while it is,
    and when it has become a tunnel.
    max_connection_duration_jitter: the most by which a connection lives longer, as a part of that duration.
    drain_timeout_jitter: the same of the drain time.
    scheme_of_port: what X-Forwarded-Proto says of a connection whose original destination has the port.
    measures_routes: streams note how their routes were found.
    early_changes: to each head, before it is looked at.
    sheds_load: whether the overload manager may answer requests. tells_overload: with a header that says so.
    """

    stat_prefix: str
    routes: RouteSlot
    http_filters: tuple[FilterSpec, ...]
    codec_type: str = "AUTO"
    sheds_load: bool = False
    tells_overload: bool = False
    http1: Http1Options = _HTTP1
    http2: Http2Options = _HTTP2
    access_logs: tuple[AccessLog, ...] = ()
    measures_routes: bool = False
    server_name: str = "envoy"
    server_header_transformation: str = "OVERWRITE"
    use_remote_address: bool = False
    xff_num_trusted_hops: int = 0
    skip_xff_append: bool = False
    client_detection: tuple[ClientDetection, ...] = ()
    shows_ipv4_as_ipv6: bool = False
    tells_addresses: bool = True
    internal_addresses: CidrSet | None = None
    internal_unix_sockets: bool = False
    early_changes: tuple[HeaderChange, ...] = ()
    generate_request_id: bool = True
    preserve_external_request_id: bool = False
    packs_trace_reason: bool = True
    always_set_request_id_in_response: bool = False
    tracing: TracingConfig | None = None
    forward_client_cert_details: str = "SANITIZE"
    set_current_client_cert_details: frozenset[str] = frozenset()
    normalize_path: bool = False
    merge_slashes: bool = False
    path_with_escaped_slashes_action: str = "KEEP_UNCHANGED"
    reject_path_with_fragment: bool = True
    upgrades: Mapping[str, UpgradeConfig] = field(default_factory=dict)
    idle_timeout: float = 3600.0
    max_connection_duration: float = 0.0
    max_connection_duration_jitter: float = 0.0
    http1_safe_max_connection_duration: bool = False
    max_stream_duration: float = 0.0
    max_requests_per_connection: int = 0
    stream_idle_timeout: float = 300.0
    stream_flush_timeout: float | None = None
    request_timeout: float = 0.0
    request_headers_timeout: float = 0.0
    drain_timeout: float = 5.0
    drain_timeout_jitter: float = 0.0
    scheme_of_port: Mapping[int, str] | None = None
    delayed_close_timeout: float = 1.0
    proxy_100_continue: bool = False
    via: str = ""
    stream_error_on_invalid_http_message: bool = False
    strip_matching_host_port: bool = False
    strip_any_host_port: bool = False
    strip_trailing_host_dot: bool = False
    add_user_agent: bool = False
    append_x_forwarded_port: bool = False
    scheme_to_overwrite: str = ""
    local_reply: LocalReplyConfig | None = None
    proxy_status: ProxyStatusConfig | None = None
    log_new_requests: bool = False
    log_interval: float = 0.0
    log_tunnels: bool = False
