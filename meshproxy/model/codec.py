"""What a codec is told: Envoy's `Http1ProtocolOptions` and the limits of `HttpProtocolOptions`, compiled."""

from __future__ import annotations

from typing import Literal

from meshproxy.matching import StringMatcher
from meshproxy.records import dataclass

Underscores = Literal["ALLOW", "REJECT_REQUEST", "DROP_HEADER"]


@dataclass(frozen=True, slots=True)
class HeaderKeyFormat:
    """How names are written; without one in lower case.

    preserve: as the peer wrote them (`preserve_case`), for which they are remembered as they are read.
    proper: others in proper case.
    reason: the peer's reason phrase is kept, too (`forward_reason_phrase`).
    """

    preserve: bool = False
    proper: bool = False
    reason: bool = False


@dataclass(frozen=True, slots=True)
class Http1Options:
    """Options of one HTTP/1 codec; the defaults are Envoy's for a listener.

    max_headers_kb: the largest message head, in KiB, line ends included. Envoy's default for responses is 80.
    max_headers_count: the most fields in a head, Host included; also the most trailers.
    accept_http_10, default_host_for_http_10: serve HTTP/1.0, and the authority of a request without Host ("": none).
    allow_absolute_url: accept `GET http://host/path` (RFC 9112 section 3.2.2).
    enable_trailers: hand trailers on; otherwise they are checked and dropped.
    allow_chunked_length: accept Content-Length beside `Transfer-Encoding: chunked`; Content-Length is then removed.
    underscores: what is done with a field whose name has an underscore.
    header_key_format: how names are written; None writes them in lower case and remembers nothing.
    send_fully_qualified_url: write the absolute-form to an upstream.
    allow_custom_methods: accept any token as the method, not only those that are known.
    ignored_upgrades: what Upgrade may name without asking for anything; those names are taken out of it.
    """

    max_headers_kb: int = 60
    max_headers_count: int = 100
    accept_http_10: bool = False
    default_host_for_http_10: str = ""
    allow_absolute_url: bool = True
    enable_trailers: bool = False
    allow_chunked_length: bool = False
    underscores: Underscores = "ALLOW"
    header_key_format: HeaderKeyFormat | None = None
    send_fully_qualified_url: bool = False
    allow_custom_methods: bool = False
    ignored_upgrades: tuple[StringMatcher, ...] = ()


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Envoy's `KeepaliveSettings`: PINGs that find dead connections. All in seconds; the runtime has the timers.

    interval: between PINGs; None sends them only after an idle time.
    timeout: for the answer; then the connection is closed.
    jitter: the most by which an interval grows, in percent of it.
    idle_interval: a PING goes ahead of a request if nothing came for so long; None: never.
    """

    interval: float | None
    timeout: float
    jitter: float = 15.0
    idle_interval: float | None = None


@dataclass(frozen=True, slots=True)
class Http2Options:
    """Options of one HTTP/2 codec (`Http2ProtocolOptions` and the limits of `HttpProtocolOptions`); Envoy's defaults.

    hpack_table_size: most bytes of the decoder's dynamic table, and of the encoder's if the peer allows as much.
    max_concurrent_streams: how many streams the peer may have open.
    initial_stream_window_size, initial_connection_window_size: bytes that the peer may send ahead.
    allow_connect: offer extended CONNECT (RFC 8441); plain CONNECT needs no leave of the codec.
    max_outbound_frames, max_outbound_control_frames: frames, and SETTINGS, PING and RST_STREAM ones, that may wait to
        be written; one more and the connection ends.
    max_consecutive_inbound_frames_with_empty_payload: HEADERS, CONTINUATION and DATA that carry nothing.
    max_inbound_priority_frames_per_stream: the budget is this times (1 + streams opened).
    max_inbound_window_update_frames_per_data_frame_sent: the budget is 5 + 2 * (streams opened + this * DATA sent).
    override_stream_error_on_invalid_http_message: a malformed message ends its stream, not its connection.
    max_headers_kb, max_headers_count: the largest list of fields, in KiB as RFC 7541 section 4.1 counts without the 32
        bytes each, and the most fields; also for trailers.
    underscores: what is done with a field whose name has an underscore.
    keepalive: None sends no PINGs.
    custom_settings: further parameters of SETTINGS, number and value.
    """

    hpack_table_size: int = 4096
    max_concurrent_streams: int = 1024
    initial_stream_window_size: int = 16 * 1024 * 1024
    initial_connection_window_size: int = 24 * 1024 * 1024
    allow_connect: bool = False
    max_outbound_frames: int = 10_000
    max_outbound_control_frames: int = 1_000
    max_consecutive_inbound_frames_with_empty_payload: int = 1
    max_inbound_priority_frames_per_stream: int = 100
    max_inbound_window_update_frames_per_data_frame_sent: int = 10
    override_stream_error_on_invalid_http_message: bool = False
    max_headers_kb: int = 60
    max_headers_count: int = 100
    underscores: Underscores = "ALLOW"
    keepalive: Keepalive | None = None
    custom_settings: tuple[tuple[int, int], ...] = ()
