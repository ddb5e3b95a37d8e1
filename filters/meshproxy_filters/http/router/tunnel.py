"""CONNECT that ends here: what the client sends goes raw to a host, as if it had connected itself.

(Envoy: `RouteAction.UpgradeConfig.ConnectConfig`.) To the router this is an upstream like any other. The answer that an
HTTP host would give is given here, once there is a connection: 200.
"""

from __future__ import annotations

from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import Cluster, Host, HttpUpstream, HttpUpstreamSink, TcpUpstream


class ConnectTunnel(HttpUpstream):
    """See the module. The end of what the host sends ends the stream, and with it the connection.

    header: of the PROXY protocol, which the host gets first.
    """

    def __init__(
        self, cluster: Cluster, host: Host, sink: HttpUpstreamSink, header: ProxyHeaderOptions | None = None
    ) -> None:
        self.host = host
        self._sink: HttpUpstreamSink | None = sink
        self.stream_info = getattr(sink, "stream_info", None)
        self._raw = cluster.connect(host, self, header=header)

    # What the connection calls.

    def on_upstream_connected(self, upstream: TcpUpstream) -> None:
        sink = self._sink
        if sink is None:
            return
        self.local_address = upstream.local_address
        self.connection_id = upstream.connection_id
        self.tls = upstream.tls
        sink.on_upstream_ready(self)
        sink.on_upstream_response(ResponseHeaders(200), False)
        self._turn_ends()

    def on_upstream_data(self, data: bytes, end: bool) -> None:
        sink = self._sink
        if sink is None:
            return
        if end:
            self._sink = None
            self._raw.close()
        sink.on_upstream_body(data, end)
        self._turn_ends()

    def _turn_ends(self) -> None:
        if self._sink is not None:
            self._sink.on_upstream_read_done()

    def on_upstream_closed(self, reason: ResetReason | None, detail: str) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.on_upstream_reset(reason or ResetReason.CONNECTION_TERMINATION, detail)

    def on_upstream_blocked(self, blocked: bool) -> None:
        if self._sink is not None:
            self._sink.on_upstream_blocked(blocked)

    # What the router calls.

    def send_body(self, data: bytes, end: bool) -> None:
        self._raw.write(data, end)

    def send_trailers(self, trailers: Headers) -> None:
        self._raw.write(b"", True)

    def flush(self) -> None:
        """What is written leaves at once."""

    def read_disable(self, disable: bool) -> None:
        self._raw.read_disable(disable)

    def reset(self) -> None:
        self._sink = None
        self._raw.close()
