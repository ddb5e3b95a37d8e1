"""What is known of one stream: the facts that access logs, header formatters, tracers and filters read.

The HTTP stream and the TCP connection of the runtime *are* a `StreamInfo` (they subclass it), so a fact is stored once,
where it arises, and nothing is copied when the log line is due.

Theory: neither class has `__slots__` or an `__init__`; every fact has a class-level default. Creating a stream then
costs nothing for the forty facts that most streams never learn, a fact that isn't set takes no room, and a reader
sees its default without a test. The price is that a default must be immutable: a dictionary is `None` until its
first key is set.

That holds for up to 29 attributes set on an instance, a subclass's own among them. With the 30th CPython 3.11 gives up
the compact form: measured, an instance then takes 1640 bytes instead of 330, and stores and loads are slower. So a
subclass puts what *every* stream of it has into `__slots__`, which don't count, and leaves to the dictionary what is
rare.

Invariants:
- times are seconds of the monotonic clock, and 0.0 means that the point wasn't reached; only `start_wall` is
  seconds since 1970;
- an absent text is "", an absent number 0; addresses are "ip:port", "[ip6]:port", the path of a Unix socket or
  "envoy://listener/endpoint" (`InternalAddress`);
- byte counts never decrease.

The names of flags and details are Envoy's: see "access log usage" of its documentation, `%RESPONSE_FLAGS%`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshproxy.address import INTERNAL_SCHEME
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders


def split_address(address: str) -> tuple[str, int]:
    """IP and port of "ip:port" or "[ip6]:port"; the whole text and 0 where there is no port (a Unix socket), "" and 0
    for an internal address."""
    ip, colon, port = address.rpartition(":")
    if address.startswith(INTERNAL_SCHEME):
        return "", 0
    if not colon or not port.isdecimal() or not port.isascii():
        return address, 0
    if ip.startswith("["):
        ip = ip[1:-1]
    return ip, int(port)


class HashableString(str):
    """A text in the filter state that a route's `hash_policy` may hash (`envoy.hashable_string`)."""

    __slots__ = ()


class StateMessage:
    """An object in the filter state that is a message to Envoy: a log shows its fields. Plain, it is its `str`."""

    __slots__ = ()

    def fields(self) -> dict[str, Any]:
        """What is set, by the names of the API."""
        raise NotImplementedError  # each kind of object gives its own


class StateFields:
    """An object in the filter state of which a log can show single fields only: its public attributes."""

    __slots__ = ()


class TlsInfo:
    """What a handshake told about the two certificates. Texts as `%DOWNSTREAM_PEER_*%` and its like print them.

    peer_presented: the peer sent a certificate; peer_validated: and it was verified against the trusted authorities.
    peer_fingerprint_256, peer_fingerprint_1: lower-case hex digests of the DER form.
    peer_serial: lower-case hex. peer_not_before, peer_not_after: seconds since 1970, 0.0 without a certificate.
    peer_certificate, peer_certificate_chain: PEM, URL-encoded. The `*_chain_*` facts go from the leaf to the last one
    sent. forwarded_element: what `x-forwarded-client-cert` says of this peer, once it was made.
    """

    peer_presented: bool = False
    peer_validated: bool = False
    peer_uri_sans: tuple[str, ...] = ()
    peer_dns_sans: tuple[str, ...] = ()
    peer_ip_sans: tuple[str, ...] = ()
    peer_email_sans: tuple[str, ...] = ()
    peer_othername_sans: tuple[str, ...] = ()
    peer_oids: tuple[str, ...] = ()
    peer_subject: str = ""
    peer_issuer: str = ""
    peer_serial: str = ""
    peer_fingerprint_256: str = ""
    peer_fingerprint_1: str = ""
    peer_issuer_fingerprint_256: str = ""
    peer_issuer_serial: str = ""
    peer_chain_fingerprints_256: tuple[str, ...] = ()
    peer_chain_fingerprints_1: tuple[str, ...] = ()
    peer_chain_serials: tuple[str, ...] = ()
    peer_certificate: str = ""
    peer_certificate_chain: str = ""
    peer_not_before: float = 0.0
    peer_not_after: float = 0.0
    local_uri_sans: tuple[str, ...] = ()
    local_dns_sans: tuple[str, ...] = ()
    local_ip_sans: tuple[str, ...] = ()
    local_email_sans: tuple[str, ...] = ()
    local_othername_sans: tuple[str, ...] = ()
    local_oids: tuple[str, ...] = ()
    local_subject: str = ""
    forwarded_element: str = ""
    session_id: str = ""
    cipher: str = ""
    group: str = ""
    version: str = ""


class ConnectionInfo:
    """What is known of a downstream connection; shared by the streams that it carries.

    original_destination: (ip, port) that a listener filter restored, None if none did.
    local_address: where the peer was going: the restored original destination if there is one.
    direct_local_address: our end of the socket.
    remote_address: the peer, as PROXY protocol or X-Forwarded-For make it known; direct_remote_address: the other end
    of the socket. round_trip: seconds that the kernel's handshake took, noted only where a format asks for it.
    handshake_began: the client's first bytes of TLS came. transport: "raw_buffer" or "tls".
    termination_details: why we closed it.
    listener_direction: its `traffic_direction`, "INBOUND", "OUTBOUND" or "UNSPECIFIED".
    proxy_tlvs: of the PROXY protocol header that the connection began with, the entries that may be passed on; None if
    there was no header.
    upstream_source: see `plugin.listener.Socket`.
    filter_state: what network filters keep for the streams that the connection carries. shared_state: see `StreamInfo`.
    """

    connection_id: int = 0
    original_destination: tuple[str, int] | None = None
    local_address: str = ""
    direct_local_address: str = ""
    remote_address: str = ""
    direct_remote_address: str = ""
    requested_server_name: str = ""
    alpn: str = ""
    transport: str = "raw_buffer"
    tls: TlsInfo | None = None
    ja3: str = ""
    ja4: str = ""
    started: float = 0.0
    ended: float = 0.0
    round_trip: float = 0.0
    handshake_began: float = 0.0
    handshake_complete: float = 0.0
    termination_details: str = ""
    transport_failure_reason: str = ""
    local_close_reason: str = ""
    detected_close_type: str = ""
    filter_chain_name: str = ""
    filter_chain_metadata: Mapping[str, Mapping[str, Any]] | None = None
    listener_name: str = ""
    listener_metadata: Mapping[str, Mapping[str, Any]] | None = None
    listener_direction: str = "UNSPECIFIED"
    proxy_tlvs: tuple[tuple[int, bytes], ...] | None = None
    upstream_source: tuple[str, int] | None = None
    filter_state: dict[str, object] | None = None
    shared_state: dict[str, bool] | None = None

    @property
    def local_ip(self) -> str:
        return split_address(self.local_address)[0]

    @property
    def local_port(self) -> int:
        return split_address(self.local_address)[1]

    @property
    def direct_local_ip(self) -> str:
        return split_address(self.direct_local_address)[0]

    @property
    def direct_local_port(self) -> int:
        return split_address(self.direct_local_address)[1]

    @property
    def remote_ip(self) -> str:
        return split_address(self.remote_address)[0]

    @property
    def remote_port(self) -> int:
        return split_address(self.remote_address)[1]

    @property
    def direct_remote_ip(self) -> str:
        return split_address(self.direct_remote_address)[0]

    @property
    def direct_remote_port(self) -> int:
        return split_address(self.direct_remote_address)[1]


NO_CONNECTION = ConnectionInfo()


class StreamInfo:
    """Facts of one HTTP stream, or of one TCP connection that no HTTP is read from.

    random_number: 63 random bits that all shares of traffic among its routes compare; -1 until one of them asks.
    route_resolutions, route_resolution_time: how often a route was looked for, and the seconds that all of it took;
    noted only where somebody asks.
    stream_id: `%STREAM_ID%` of a TCP connection, a UUID; an HTTP stream is known by its x-request-id.
    protocol: "HTTP/1.0", "HTTP/1.1", "HTTP/2"; "" for TCP.
    response_code: what the downstream was sent, 0 if nothing. details: `%RESPONSE_CODE_DETAILS%`.
    flags: short response flags joined by ",", in the order in which they were set.
    remote_address: the client, if X-Forwarded-For made another of it than the connection's; else "".
    local_reply_body: set only while the body of a local reply is being formatted.
    bytes_received, bytes_sent: body bytes, for TCP all bytes, as the downstream sees the directions.
    upstream_cluster: its name; upstream_cluster_alt: `alt_stat_name`, "" if it has none.
    upstream_host: address of the chosen endpoint. upstream_remote_address: the other end of the upstream socket.
    pool_ready: seconds from the request for an upstream connection to having one, -1.0 if none was had.
    lb_hash: what the route's hash policies make of the request, None for nothing; lb_attempt: how many hosts have been
    refused in the choice under way; lb_cookies: `Set-Cookie` values by which the client is to be known again.
    lb_override: address of the host that the first attempt goes to, if it isn't unhealthy; else to another one, or with
    lb_override_strict to none. lb_override_status: that a client is told then, 0 for the usual.
    alpn_override: protocols to offer in TLS to the upstream, joined by ",", in place of the configured ones; "": those.
    lb_metadata: what hosts must have in their metadata (`metadata_match`, subsets), None for nothing.
    own_tlvs: entries of a PROXY protocol header for the upstream in place of those that the client's connection began
    with, None for these. hides_addresses: such a header doesn't name the client's connection, unless that one began
    with a header itself.
    hosts_attempted, host_names_attempted, connection_ids_attempted: one entry for each try, in order.
    shared_state: which objects of the filter state connections to upstreams are given, and whether they share them with
    theirs in turn.
    """

    connection: ConnectionInfo = NO_CONNECTION
    stream_id: str = ""
    random_number: int = -1
    route_resolutions: int = 0
    route_resolution_time: float = 0.0
    start_wall: float = 0.0
    start: float = 0.0
    end: float = 0.0
    protocol: str = ""
    access_log_type: str = ""

    request: RequestHeaders | None = None
    request_trailers: Headers | None = None
    response: ResponseHeaders | None = None
    response_trailers: Headers | None = None
    original_path: str = ""
    request_id: str = ""
    trace_id: str = ""
    span_id: str = ""
    sampled: bool = False
    health_check: bool = False
    remote_address: str = ""

    response_code: int = 0
    details: str = ""
    flags: str = ""
    custom_flags: str = ""
    local_reply_body: str = ""

    bytes_received: int = 0
    bytes_sent: int = 0
    downstream_header_bytes_received: int = 0
    downstream_header_bytes_sent: int = 0
    downstream_decompressed_header_bytes_received: int = 0
    downstream_decompressed_header_bytes_sent: int = 0
    downstream_wire_bytes_received: int = 0
    downstream_wire_bytes_sent: int = 0
    upstream_header_bytes_received: int = 0
    upstream_header_bytes_sent: int = 0
    upstream_decompressed_header_bytes_received: int = 0
    upstream_decompressed_header_bytes_sent: int = 0
    upstream_wire_bytes_received: int = 0
    upstream_wire_bytes_sent: int = 0

    upstream_cluster: str = ""
    upstream_cluster_alt: str = ""
    upstream_cluster_metadata: Mapping[str, Mapping[str, Any]] | None = None
    upstream_host: str = ""
    upstream_host_name: str = ""
    upstream_host_metadata: Mapping[str, Mapping[str, Any]] | None = None
    upstream_local_address: str = ""
    upstream_remote_address: str = ""
    upstream_protocol: str = ""
    upstream_connection_id: int = 0
    upstream_server_name: str = ""
    upstream_tls: TlsInfo | None = None
    upstream_transport_failure_reason: str = ""
    upstream_local_close_reason: str = ""
    upstream_detected_close_type: str = ""
    upstream_filter_state: dict[str, object] | None = None
    pool_ready: float = -1.0
    lb_hash: int | None = None
    lb_attempt: int = 0
    lb_metadata: Mapping[str, Any] | None = None
    lb_cookies: tuple[str, ...] = ()
    lb_override: str = ""
    lb_override_strict: bool = False
    lb_override_status: int = 0
    alpn_override: str = ""
    own_tlvs: tuple[tuple[int, bytes], ...] | None = None
    hides_addresses: bool = False
    attempt_count: int = 0
    hosts_attempted: tuple[str, ...] = ()
    host_names_attempted: tuple[str, ...] = ()
    connection_ids_attempted: tuple[int, ...] = ()

    route_name: str = ""
    route_metadata: Mapping[str, Mapping[str, Any]] | None = None
    virtual_host_name: str = ""
    virtual_host_metadata: Mapping[str, Mapping[str, Any]] | None = None
    virtual_cluster_name: str = ""

    request_complete: float = 0.0
    upstream_connect_start: float = 0.0
    upstream_connect_complete: float = 0.0
    upstream_handshake_complete: float = 0.0
    first_upstream_tx: float = 0.0
    last_upstream_tx: float = 0.0
    first_upstream_rx: float = 0.0
    first_upstream_body_rx: float = 0.0
    last_upstream_rx: float = 0.0
    first_downstream_tx: float = 0.0
    last_downstream_tx: float = 0.0
    named_times: dict[str, float] | None = None

    dynamic_metadata: dict[str, dict[str, Any]] | None = None
    filter_state: dict[str, object] | None = None
    shared_state: dict[str, bool] | None = None

    @property
    def known_state(self) -> dict[str, object] | None:
        """The filter state with what the connection's has beside it: what is to be read, not changed."""
        own, shared = self.filter_state, self.connection.filter_state
        if not shared or own is shared:
            return own
        return {**shared, **own} if own else shared

    def add_flag(self, flag: str) -> None:
        """Set a response flag by its short name, such as "UF"; setting it again changes nothing."""
        flags = self.flags
        if not flags:
            self.flags = flag
        elif flag not in flags.split(","):
            self.flags = f"{flags},{flag}"

    def set_metadata(self, namespace: str, key: str, value: Any) -> None:
        """Set one entry of the dynamic metadata. A value is what JSON can say."""
        if self.dynamic_metadata is None:
            self.dynamic_metadata = {}
        self.dynamic_metadata.setdefault(namespace, {})[key] = value

    def set_filter_state(self, name: str, value: object) -> None:
        """Keep an object under `name` for the filters that follow and for the log."""
        if self.filter_state is None:
            self.filter_state = {}
        self.filter_state[name] = value

    def share_filter_state(self, name: str, *, further: bool) -> None:
        """Give the object of this name to connections to upstreams too. further: they share it with theirs in turn."""
        if self.shared_state is None:
            self.shared_state = {}
        self.shared_state[name] = further
