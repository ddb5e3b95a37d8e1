"""Connections that are carried through an HTTP proxy: `tunneling_config` of `tcp_proxy`.

(envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig.) A tunnel is a request to a host of the
cluster, by CONNECT or, for proxies that have no CONNECT, by POST, whose two bodies are the connection's two directions.
To `tcp_proxy` it is an upstream connection like any other: it is there once the proxy has agreed, and ends with the
response. What `tcp_proxy` writes is sent at once.

Invariant: `_sink` is let go before the last call to it, and whatever comes after that is nobody's.
"""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.listener import LineFormatter
from meshproxy.model.route import HeaderMutations
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.mutations import apply_mutations
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.stats import StatNames
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import Cluster, Host, HttpUpstream, TcpUpstream, TcpUpstreamSink
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_UUID = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
_NAMESPACE = "envoy.filters.network.tcp_proxy"
_HEADERS_STATE = "envoy.tcp_proxy.propagate_response_headers"
_TRAILERS_STATE = "envoy.tcp_proxy.propagate_response_trailers"

_SHOWN = StatNames(
    counters=(
        "no_cluster",
        "no_route",
        "passthrough_internal_redirect_bad_location",
        "passthrough_internal_redirect_no_route",
        "passthrough_internal_redirect_predicate",
        "passthrough_internal_redirect_too_many_redirects",
        "passthrough_internal_redirect_unsafe_scheme",
        "rq_direct_response",
        "rq_overload_local_reply",
        "rq_redirect",
        "rq_reset_after_downstream_response_started",
        "rq_total",
    )
)
"""What Envoy shows of a tunnel beside the cluster's statistics, all of it zero."""


@dataclass(frozen=True, slots=True, eq=False)
class TunnelConfig:
    """host: makes the authority. path: what is posted to, "" for CONNECT. added: to the request's head.

    keeps_headers, keeps_trailers: those of the response are left in the filter state. id_header: the field for an id of
    the tunnel, "" for none; id_key: of the metadata that has it.
    """

    host: LineFormatter
    path: str = ""
    added: HeaderMutations | None = None
    keeps_headers: bool = False
    keeps_trailers: bool = False
    id_header: str = ""
    id_key: str = ""


def read_tunneling(view: ConfigView | None, prefix: str, context: FactoryContext) -> TunnelConfig | None:
    """`TunnelingConfig`. prefix: of the statistics. Raises ConfigError."""
    if view is None:
        return None
    try:
        host = context.compile_format(view.text("hostname"))
    except ValueError as error:
        view.fail(str(error), "hostname")
    post = view.boolean("use_post")
    path = view.text("post_path")
    if path and not post:
        view.fail("Can't set a post path when POST method isn't used", "post_path")
    extension = view.view("request_id_extension")
    if extension is not None and (typed := extension.any("typed_config")) is not None:
        uuids = typed.message(_UUID)
        # Nothing is traced here, so either way the id says that it isn't.
        uuids.boolean("pack_trace_reason", True), uuids.boolean("use_request_id_for_trace_sampling", True)
    header, key = view.text("request_id_header"), view.text("request_id_metadata_key")
    context.stats.scope(f"tcp.{prefix}.tcpproxy_tunneling.").declare(_SHOWN)
    return TunnelConfig(
        host,
        (path or "/") if post else "",
        context.compile_header_mutations(view.views("headers_to_add"), []),
        view.boolean("propagate_response_headers"),
        view.boolean("propagate_response_trailers"),
        (header.lower() or "x-request-id") if extension is not None else "",
        key or "tunnel_request_id",
    )


class HttpTunnel(TcpUpstream):
    """See the module. One attempt; nothing happens before `start`.

    half_open: the request may go on when its response has ended.
    """

    half_open = True

    def __init__(self, config: TunnelConfig, host: Host, sink: TcpUpstreamSink, info: StreamInfo) -> None:
        self.host = host
        self.stream_info = info
        self._config = config
        self._sink: TcpUpstreamSink | None = sink
        self._upstream: HttpUpstream | None = None
        self._open = False
        self._waiting: list[tuple[bytes, bool]] = []
        self._ended = [False, False]  # by us, by the host

    def start(self, cluster: Cluster, rng: random.Random) -> None:
        """Ask for the tunnel. The sink may hear of a failure before this returns."""
        config = self._config
        info = self.stream_info
        authority = config.host(info)
        if config.path:
            request = RequestHeaders("POST", config.path, authority, "https" if cluster.encrypts(self.host) else "http")
        else:
            request = RequestHeaders("CONNECT", "", authority)
        if config.id_header:
            tunnel_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
            request[config.id_header] = tunnel_id
            info.set_metadata(_NAMESPACE, config.id_key, tunnel_id)
        if config.added is not None:
            apply_mutations((config.added,), request, info)
        upstream = cluster.request(self.host, request, False, self)
        if self._sink is not None and self._upstream is None:
            self._upstream = upstream
            upstream.flush()

    # What the request's upstream calls.

    def on_upstream_ready(self, upstream: HttpUpstream) -> None:
        self._upstream = upstream
        upstream.flush()

    def on_upstream_informational(self, response: ResponseHeaders) -> None:
        """It isn't the answer yet."""

    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None:
        sink, upstream = self._sink, self._upstream
        if sink is None or upstream is None:
            return
        if self._config.keeps_headers:
            status = [{"key": ":status", "value": str(response.status)}]
            self.stream_info.set_filter_state(_HEADERS_STATE, {"headers": status + _listed(response)})
        granted = 200 <= response.status < 300 if self._is_http1() else response.status == 200
        if end or not granted:
            self._sink = None
            if not end:
                upstream.reset()
            sink.on_upstream_closed(ResetReason.CONNECT_FAILURE, f"tunnel_response:{response.status}")
            return
        self._open = True
        self.local_address = upstream.local_address
        self.connection_id = upstream.connection_id
        self.tls = upstream.tls
        sink.on_upstream_connected(self)
        waiting, self._waiting = self._waiting, []
        for data, ends in waiting:
            self.write(data, ends)

    def on_upstream_body(self, data: bytes, end: bool) -> None:
        sink = self._sink
        if sink is None:
            return
        sink.on_upstream_data(data, end)
        if end:
            self._host_ended(sink)

    def on_upstream_trailers(self, trailers: Headers) -> None:
        sink = self._sink
        if self._config.keeps_trailers:
            self.stream_info.set_filter_state(_TRAILERS_STATE, {"headers": _listed(trailers)})
        if sink is not None:
            sink.on_upstream_data(b"", True)
            self._host_ended(sink)

    def _host_ended(self, sink: TcpUpstreamSink) -> None:
        """The response is complete. Over HTTP/1 nothing of the request is taken any more."""
        self._ended[1] = True
        if self._sink is not None and self._is_http1():
            self._sink = None
            sink.on_upstream_closed(None, "")

    def _is_http1(self) -> bool:
        return self._upstream is not None and not self._upstream.protocol.startswith("HTTP/2")

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        sink, self._sink = self._sink, None
        if sink is None:
            return
        if self._open:
            # Over HTTP/1 a tunnel has no other end than its connection's, so as in Envoy none is taken for a fault.
            sink.on_upstream_closed(None if self._is_http1() else reason, detail)
        elif reason in (ResetReason.OVERFLOW, ResetReason.QUEUE_OVERFLOW):
            sink.on_upstream_closed(ResetReason.OVERFLOW, detail)
        else:
            sink.on_upstream_closed(ResetReason.CONNECT_FAILURE, detail)

    def on_upstream_blocked(self, blocked: bool) -> None:
        if self._sink is not None and self._open:
            self._sink.on_upstream_blocked(blocked)

    def on_upstream_read_done(self) -> None:
        """What came was passed on at once."""

    # What tcp_proxy calls.

    def write(self, data: bytes, end: bool) -> None:
        if not self._open:
            self._waiting.append((data, end))
        elif self._upstream is not None:
            self._ended[0] = self._ended[0] or end
            self._upstream.send_body(data, end)
            self._upstream.flush()

    def read_disable(self, disable: bool) -> None:
        if self._upstream is not None and self._open:
            self._upstream.read_disable(disable)

    def close(self, *, reset: bool = False) -> None:
        self._sink = None
        if self._upstream is not None and not all(self._ended):
            self._upstream.reset()


def _listed(headers: Headers) -> list[dict[str, str]]:
    """As Envoy shows a map of fields in JSON."""
    return [{"key": name, "value": value} for name, value in headers.items()]
