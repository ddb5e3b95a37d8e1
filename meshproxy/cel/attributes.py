"""What an expression can ask of a stream: `request.path`, `connection.mtls`, `xds.node`, ...

Source: "Attributes" of Envoy's documentation. A name with a field that is known when the expression is compiled becomes
one function of the stream (`getter`); asked for at run time, `request[x]` or `request` alone, the same functions stand
in an `AttributeMap`. A getter says `MISSING` for what the stream doesn't have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from meshproxy.cel.attribute_messages import locality_message, metadata_message, node_message
from meshproxy.cel.header_maps import HeaderMap, request_headers, response_headers, response_trailers
from meshproxy.cel.surroundings import Surroundings
from meshproxy.cel.times import SECOND
from meshproxy.cel.values import MISSING, CelMap, Duration, StructMap, Timestamp, Uint, lift
from meshproxy.matching import parse_int64, wire_text
from meshproxy.plugin.message_facts import request_bytes, response_bytes, response_grpc_status, trailer_bytes
from meshproxy.plugin.stream_info import StreamInfo, TlsInfo, split_address

Getter = Callable[[Any], Any]


def _text(value: str | None) -> Any:
    """An absent text is "" or None."""
    return value if value else MISSING


def _duration(begin: float, end: float) -> Any:
    return Duration(round((end - begin) * SECOND)) if begin and end else MISSING


def _of_request(read: Callable[[Any], Any]) -> Getter:
    return lambda info: MISSING if info.request is None else read(info.request)


def _field(name: str) -> Getter:
    return lambda info: MISSING if (request := info.request) is None else request.fields.get(name, MISSING)


def _request_size(info: StreamInfo) -> Any:
    declared = info.request.fields.get("content-length") if info.request is not None else None
    if declared is None:
        return info.bytes_received
    number = parse_int64(declared)
    return MISSING if number is None else number


def _query(path: str) -> str:
    return path.partition("?")[2].partition("#")[0]


_REQUEST: dict[str, Getter] = {
    "headers": request_headers,
    "headers_bytes": lambda info: request_bytes(info.request),
    "time": lambda info: Timestamp(round(info.start_wall * 1_000_000) * 1000),
    "size": _request_size,
    "total_size": lambda info: info.bytes_received + request_bytes(info.request),
    "duration": lambda info: _duration(info.start, info.request_complete),
    "protocol": lambda info: _text(info.protocol),
    "path": _of_request(lambda request: _text(request.path)),
    "url_path": _of_request(lambda request: request.path.partition("?")[0]),
    "host": _of_request(lambda request: _text(request.authority)),
    "scheme": _of_request(lambda request: _text(request.scheme)),
    "method": _of_request(lambda request: _text(request.method)),
    "referer": _field("referer"),
    "id": _field("x-request-id"),
    "useragent": _field("user-agent"),
    "query": _of_request(lambda request: _query(request.path)),
}

# The bits of the flags, in the order in which Envoy numbers them.
_FLAGS = (
    *("LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC", "URX", "SI", "IH"),
    *("DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR", "UDO"),
)
_FLAG_BITS = {flag: 1 << bit for bit, flag in enumerate(_FLAGS)}


def _response_total(info: StreamInfo) -> int:
    return info.bytes_sent + response_bytes(info.response) + trailer_bytes(info.response_trailers)


def _grpc_status(info: StreamInfo) -> Any:
    status = response_grpc_status(info)
    return MISSING if status is None else status


_RESPONSE: dict[str, Getter] = {
    "code": lambda info: info.response_code or MISSING,
    "size": lambda info: info.bytes_sent,
    "headers": response_headers,
    "headers_bytes": lambda info: response_bytes(info.response),
    "trailers": response_trailers,
    "flags": lambda info: sum([_FLAG_BITS.get(flag, 0) for flag in info.flags.split(",")]),
    "grpc_status": _grpc_status,
    "total_size": _response_total,
    "code_details": lambda info: _text(info.details),
    "backend_latency": lambda info: _duration(info.first_upstream_tx, info.last_upstream_rx),
}

_TLS: dict[str, Callable[[TlsInfo], Any]] = {
    "tls_version": lambda tls: tls.version,
    "subject_local_certificate": lambda tls: tls.local_subject,
    "subject_peer_certificate": lambda tls: tls.peer_subject,
    "uri_san_local_certificate": lambda tls: tls.local_uri_sans[0] if tls.local_uri_sans else MISSING,
    "uri_san_peer_certificate": lambda tls: tls.peer_uri_sans[0] if tls.peer_uri_sans else MISSING,
    "dns_san_local_certificate": lambda tls: tls.local_dns_sans[0] if tls.local_dns_sans else MISSING,
    "dns_san_peer_certificate": lambda tls: tls.peer_dns_sans[0] if tls.peer_dns_sans else MISSING,
    "sha256_peer_certificate_digest": lambda tls: _text(tls.peer_fingerprint_256),
    "peer_certificate": lambda tls: tls.peer_certificate if tls.peer_presented else MISSING,
}


def _of_tls(find: Callable[[Any], TlsInfo | None], read: Callable[[TlsInfo], Any]) -> Getter:
    return lambda info: MISSING if (tls := find(info)) is None else read(tls)


def _mutual(info: StreamInfo) -> bool:
    tls = info.connection.tls
    return tls is not None and tls.peer_presented


_CONNECTION: dict[str, Getter] = {
    "mtls": _mutual,
    "requested_server_name": lambda info: info.connection.requested_server_name,
    "id": lambda info: Uint(info.connection.connection_id),
    "termination_details": lambda info: _text(info.connection.termination_details),
    "transport_failure_reason": lambda info: _text(info.connection.transport_failure_reason),
    **{name: _of_tls(lambda info: info.connection.tls, read) for name, read in _TLS.items()},
}


def _host(info: StreamInfo) -> Any:
    """The endpoint that was chosen, if its cluster still has it."""
    clusters = getattr(info, "clusters", None)
    cluster = clusters.get(info.upstream_cluster) if clusters is not None else None
    return cluster.find_host(info.upstream_host) if cluster is not None else None


def _locality(info: StreamInfo) -> Any:
    host = _host(info) if info.upstream_host else None
    return MISSING if host is None else locality_message(host.locality)


def _endpoints(info: StreamInfo) -> Any:
    clusters = getattr(info, "clusters", None)
    cluster = clusters.get(info.upstream_cluster) if clusters is not None else None
    return MISSING if cluster is None else Uint(cluster.membership()[0])


def _pool_ready(info: StreamInfo) -> Any:
    return Duration(round(info.pool_ready * SECOND)) if info.pool_ready >= 0 else MISSING


_UPSTREAM: dict[str, Getter] = {
    "address": lambda info: _text(info.upstream_host),
    "port": lambda info: split_address(info.upstream_host)[1] or MISSING,
    "local_address": lambda info: _text(info.upstream_local_address),
    "locality": _locality,
    "transport_failure_reason": lambda info: info.upstream_transport_failure_reason if info.attempt_count else MISSING,
    "cx_pool_ready_duration": _pool_ready,
    "request_attempt_count": lambda info: Uint(info.attempt_count),
    "num_endpoints": _endpoints,
    **{name: _of_tls(lambda info: info.upstream_tls, read) for name, read in _TLS.items()},
}

_SOURCE: dict[str, Getter] = {
    "address": lambda info: info.remote_address or info.connection.remote_address,
    "port": lambda info: _port(info.remote_address or info.connection.remote_address),
}

_DESTINATION: dict[str, Getter] = {
    "address": lambda info: info.connection.local_address,
    "port": lambda info: _port(info.connection.local_address),
}


def _port(address: str) -> Any:
    ip, port = split_address(address)
    return port if port or (ip and ip != address) else MISSING


def _has_route(info: StreamInfo) -> bool:
    return getattr(info, "route", None) is not None


_DIRECTIONS = {"UNSPECIFIED": 0, "INBOUND": 1, "OUTBOUND": 2}


def _xds(surroundings: Surroundings) -> dict[str, Getter]:
    return {
        "node": lambda info: MISSING if surroundings.node is None else node_message(surroundings.node),
        "cluster_name": lambda info: _text(wire_text(info.upstream_cluster)),
        "cluster_metadata": lambda info: (
            metadata_message(info.upstream_cluster_metadata) if info.upstream_cluster else MISSING
        ),
        "route_name": lambda info: wire_text(info.route_name) if _has_route(info) else MISSING,
        "route_metadata": lambda info: metadata_message(info.route_metadata) if _has_route(info) else MISSING,
        "virtual_host_name": lambda info: _text(wire_text(info.virtual_host_name)),
        "virtual_host_metadata": lambda info: (
            metadata_message(info.virtual_host_metadata) if info.virtual_host_name else MISSING
        ),
        "upstream_host_metadata": lambda info: (
            (metadata_message(info.upstream_host_metadata) if info.upstream_host_metadata else None)
            if info.upstream_host
            else MISSING
        ),
        "filter_chain_name": lambda info: wire_text(info.connection.filter_chain_name),
        "listener_metadata": lambda info: metadata_message(info.connection.listener_metadata),
        "listener_direction": lambda info: _DIRECTIONS[info.connection.listener_direction],
    }


class AttributeMap(CelMap):
    """The attributes of one name as a value."""

    __slots__ = ("getters", "info")

    def __init__(self, getters: Mapping[str, Getter], info: StreamInfo) -> None:
        self.getters = getters
        self.info = info

    def find(self, key: Any) -> Any:
        getter = self.getters.get(key) if type(key) is str else None
        return MISSING if getter is None else getter(self.info)

    def items(self) -> Iterable[tuple[Any, Any]] | None:
        return None


def _state_value(value: object) -> Any:
    """An object of the filter state: its fields if it has some, else its text as bytes."""
    if isinstance(value, Mapping):
        return StructMap(value)
    if isinstance(value, bool | int | float):
        return lift(value)
    return wire_text(str(value)).encode("latin-1")


class StateMap(CelMap):
    """The filter state."""

    __slots__ = ("state",)

    def __init__(self, state: Mapping[str, object]) -> None:
        self.state = state

    def find(self, key: Any) -> Any:
        value = self.state.get(key, MISSING) if type(key) is str else MISSING
        return value if value is MISSING else _state_value(value)

    def items(self) -> Iterable[tuple[Any, Any]] | None:
        return None


def _upstream_state(info: StreamInfo) -> Any:
    return StateMap(info.upstream_filter_state or {}) if info.upstream_local_address else MISSING


_ROOTS: dict[str, Getter] = {
    "metadata": lambda info: metadata_message(info.dynamic_metadata),
    "filter_state": lambda info: StateMap(info.known_state or {}),
    "upstream_filter_state": _upstream_state,
}

UNSUPPORTED = {("xds", "upstream_host_locality_metadata"): "endpoints of a locality have no metadata of their own here"}


class Attributes:
    """The names that expressions of one configuration know."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.tables: dict[str, dict[str, Getter]] = {
            "request": _REQUEST,
            "response": _RESPONSE,
            "connection": _CONNECTION,
            "upstream": _UPSTREAM,
            "source": _SOURCE,
            "destination": _DESTINATION,
            "xds": _xds(surroundings),
        }

    def root(self, name: str) -> Getter | None:
        """The getter of a whole name; None for one that nothing is known of."""
        table = self.tables.get(name)
        if table is None:
            return _ROOTS.get(name)
        return lambda info: AttributeMap(table, info)

    def getter(self, name: str, attribute: str) -> Getter | None:
        """The getter of one attribute of a name that has a table; None where there is no such table."""
        table = self.tables.get(name)
        return None if table is None else table.get(attribute, lambda info: MISSING)

    @staticmethod
    def header(name: str, attribute: str, key: str) -> Getter | None:
        """The getter of a header field; None if that attribute is no map of headers."""
        return HeaderMap.getter(name, attribute, key)
