"""Listeners, their filter chains and the filters on them (envoy.config.listener.v3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from meshproxy.address import Address, BoundAddress, InternalAddress
from meshproxy.model.filter_chain import FilterChainMatch
from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.otlp_log import OtlpLogService
from meshproxy.records import dataclass
from meshproxy.runtime_values import Live

LogPredicate = Callable[[Any], bool]
"""A compiled access-log filter: whether a finished stream or connection (`StreamInfo`) is logged."""

LineFormatter = Callable[[Any], str]
"""A compiled access-log format: `StreamInfo` -> one line, its newline included."""

MakeOperator = Callable[[str], Callable[[], str | None]]
"""An operator of a formatter extension: from its parameter to what gives its value, as Latin-1 text; None: absent.
Raises ValueError for a parameter that it can't have."""
FormatExtensions = Mapping[str, MakeOperator | None]
"""Such operators by name. None: one that the compiler of formats knows itself, once it is named."""
NO_EXTENSIONS: FormatExtensions = {}


@dataclass(frozen=True, slots=True, eq=False)
class FilterSpec:
    """One filter of a chain as configured: which class, with which compiled configuration.

    name: the name it has in the chain; `typed_per_filter_config` refers to it.
    filter_class: the class found for it in the registry (`ListenerFilter`, `NetworkFilter` or `HttpFilter`).
    config: what its `compile` returned; every instance gets this very object.
    context: the `FactoryContext` it was compiled with; every instance gets it too.
    skips: for which accepted sockets (`Socket`) it doesn't run; None: it runs for all (listener filters only).
    disabled: off unless a route's `typed_per_filter_config` switches it on (HTTP filters only).
    slot: where the configuration comes from that discovery gives (`ExtensionSlot`); then class and configuration are
        the slot's, and those here only stand in for them.
    """

    name: str
    filter_class: type[Any]
    config: Any
    context: Any = None
    disabled: bool = False
    skips: Callable[[Any], bool] | None = None
    slot: Any = None

    def current(self) -> FilterSpec | None:
        """What is in force at this place; None: nothing has come yet."""
        if self.slot is None:
            return self
        found: FilterSpec | None = self.slot.spec
        return found


@dataclass(frozen=True, slots=True)
class LogService:
    """A gRPC service that takes access logs of HTTP, or (of_tcp) of connections.

    flush_interval: seconds; buffer_size: bytes that are gathered before. *_headers, *_trailers: names of header fields,
    in lower case, whose values entries carry. tags: what else they carry, by name, as functions of the stream that give
    "" where there is nothing to say. state: names of objects of the filter state that they carry.
    """

    name: str
    grpc: GrpcService
    flush_interval: float = 1.0
    buffer_size: int = 16384
    request_headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()
    response_trailers: tuple[str, ...] = ()
    of_tcp: bool = False
    tags: tuple[tuple[str, Callable[[Any], str | None]], ...] = ()
    state: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class AccessLog:
    """One access logger: where to, in which format, and for which streams.

    path: a file, or `/dev/stdout` and `/dev/stderr`.
    predicate: None logs everything. service: where entries go instead; then nothing is formatted.
    """

    path: str
    format_line: LineFormatter
    predicate: LogPredicate | None = None
    service: LogService | OtlpLogService | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TransportSocket:
    """What a connection is wrapped in, compiled by the transport socket's own code (TLS); None stands for raw."""

    name: str
    config: Any


@dataclass(frozen=True, slots=True, eq=False)
class FilterChain:
    """The network filters for the connections that `match` selects.

    transport_socket_connect_timeout: seconds for the handshake, 0 for no limit.
    scope: of the statistics that its filters made; closed when the chain is gone.
    """

    match: FilterChainMatch
    filters: tuple[FilterSpec, ...]
    name: str = ""
    transport_socket: TransportSocket | None = None
    transport_socket_connect_timeout: float = 0.0
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scope: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """One listener. Connections come to an *internal* one, whose address is an `InternalAddress`, from clusters of this
    program alone.

    bind_to_port: false for one that only takes connections handed over by `use_original_dst` of another.
    use_original_dst: hand an accepted connection to the listener of its original destination address, if there is one.
    transparent: IP_TRANSPARENT on the listening socket, for TPROXY; needs CAP_NET_ADMIN.
    listener_filters_timeout: seconds for all listener filters together, 0 for no limit.
    per_connection_buffer_limit: bytes buffered per connection and direction before the sender is paused.
    traffic_direction: "UNSPECIFIED", "INBOUND" or "OUTBOUND".
    connection_limit: how many connections it has at most; None for no limit ever.
    ignore_global_conn_limit: its connections neither count for the limit of all nor are refused for it.
    bypass_overload_manager: the overload manager refuses none of its connections.
    drains_only_when_changed: failing health checks on purpose doesn't end its connections.
    mptcp: its sockets speak Multipath TCP.
    socket_options: (level, name, value) set on the listening socket before bind; later_socket_options: after it.
    additional_options: both, for additional addresses that have their own.
    scope: of the statistics that its filters made; closed when the listener is gone.
    internal_buffer: bytes that a connection within the program holds in each direction, if it is an internal one.
    chain_tree: chooses a chain by its name, in place of what the chains themselves match; None where there is none.
    """

    name: str
    address: Address
    filter_chains: tuple[FilterChain, ...] = ()
    default_filter_chain: FilterChain | None = None
    additional_addresses: tuple[BoundAddress, ...] = ()
    listener_filters: tuple[FilterSpec, ...] = ()
    listener_filters_timeout: float = 15.0
    continue_on_listener_filters_timeout: bool = False
    bind_to_port: bool = True
    use_original_dst: bool = False
    transparent: bool = False
    freebind: bool = False
    reuse_port: bool = True
    ipv4_compat: bool = False
    tcp_backlog_size: int = 4096
    socket_options: tuple[tuple[int, int, int | bytes], ...] = ()
    later_socket_options: tuple[tuple[int, int, int | bytes], ...] = ()
    additional_options: Mapping[Any, Any] = field(default_factory=dict)
    mptcp: bool = False
    drains_only_when_changed: bool = False
    connection_limit: Live[int] | None = None
    ignore_global_conn_limit: bool = False
    bypass_overload_manager: bool = False
    per_connection_buffer_limit: int = 1 << 20
    traffic_direction: str = "UNSPECIFIED"
    stat_prefix: str = ""
    access_logs: tuple[AccessLog, ...] = ()
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scope: Any = None
    internal_buffer: int = 0
    chain_tree: Callable[[Any], str | None] | None = None

    @property
    def is_internal(self) -> bool:
        """Whether nobody connects to it from outside."""
        return isinstance(self.address, InternalAddress)

    @property
    def stat_name(self) -> str:
        """The part of its statistics' names after `listener.`: the address with "_" for ":", unless configured."""
        if isinstance(self.address, InternalAddress):
            return self.stat_prefix or f"envoy_internal_{self.address.listener}"
        return (self.stat_prefix or self.address.text).replace(":", "_")
