"""The connections to one host where each handshake decides about the protocol (Envoy: `auto_config`).

It is a pool for HTTP/2 and one for HTTP/1 side by side. Requests go to the one whose protocol the last handshake chose,
at first to HTTP/2: if the host then wants HTTP/1.1, the connection and all that waits move over. The same happens the
other way round, so a host may change its mind; connections that are open go on as they are.

Both sides offer the same: what the transport socket names, else "h2" and "http/1.1". A host that chooses neither gets
HTTP/1.1, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from meshproxy.codec.h2_connection import Http2Codec
from meshproxy.headers import RequestHeaders
from meshproxy.plugin.upstream import HttpUpstream, HttpUpstreamSink
from meshproxy.runtime.upstream.connections.auto_sni import NO_NAME, ServerName
from meshproxy.runtime.upstream.connections.http1_pool import Http1Pool
from meshproxy.runtime.upstream.connections.http1_upstream import Http1Upstream
from meshproxy.runtime.upstream.connections.http2_pool import Http2Pool
from meshproxy.runtime.upstream.connections.http2_upstream import Http2Upstream

if TYPE_CHECKING:
    from meshproxy.balance.host import Host
    from meshproxy.runtime.upstream.cluster import ActiveCluster

_OFFER = "h2,http/1.1"


class AlpnPool:
    """See the module."""

    def __init__(self, cluster: ActiveCluster, host: Host, priority: str, name: ServerName = NO_NAME) -> None:
        self.http2 = _Http2Side(self, cluster, host, priority, name)
        self.http1 = _Http1Side(self, cluster, host, priority, name)
        self.chosen: Http1Pool | Http2Pool = self.http2
        self._undrained = 0
        self._when_drained: Callable[[], None] | None = None

    def request(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink) -> HttpUpstream:
        """Send a request, now or as soon as a connection can take it. Failures are told to `sink`."""
        return self.chosen.request(request, end, sink)

    @property
    def codecs(self) -> Iterable[Http2Codec]:
        """See `Http2Pool`."""
        return self.http2.codecs

    def drain(self, when_drained: Callable[[], None]) -> None:
        """The host is gone: close what is idle, let what waits and what is busy finish, and say when that is done."""
        self._when_drained = when_drained
        self._undrained = 2
        self.http1.drain(self._one_drained)
        self.http2.drain(self._one_drained)

    def _one_drained(self) -> None:
        self._undrained -= 1
        if not self._undrained and self._when_drained is not None:
            self._when_drained()

    def is_empty(self) -> bool:
        """See `HttpPool`."""
        return self.http1.is_empty() and self.http2.is_empty()

    def close(self) -> None:
        """The process ends: nothing is opened any more, and nothing waits."""
        self.http1.close()
        self.http2.close()


def _wants_http2(connection: Http1Upstream | Http2Upstream) -> bool:
    tls = connection.transport.get_extra_info("ssl_object")
    return tls is not None and tls.selected_alpn_protocol() == "h2"


class _Http2Side(Http2Pool):
    def __init__(self, both: AlpnPool, cluster: ActiveCluster, host: Host, priority: str, name: ServerName) -> None:
        super().__init__(cluster, host, priority, name)
        self._both = both

    def _make(self) -> Http2Upstream:
        return self._connection_type()(self, _OFFER)

    def connected(self, connection: Http2Upstream) -> None:
        """The handshake is over."""
        if connection in self._opening:
            if not _wants_http2(connection):
                connection.let_go()
                other = self._both.chosen = self._both.http1
                other.take_waiting(self.give_waiting())
                other.adopt(connection, self._opening.pop(connection))
                return
            self.stats.upstream_cx_http2_total.value += 1
            self._both.chosen = self
        super().connected(connection)


class _Http1Side(Http1Pool):
    def __init__(self, both: AlpnPool, cluster: ActiveCluster, host: Host, priority: str, name: ServerName) -> None:
        super().__init__(cluster, host, priority, name)
        self._both = both

    def _make(self) -> Http1Upstream:
        upstream = self._make_uncounted()
        upstream.alpn_fallback = _OFFER
        return upstream

    def connected(self, upstream: Http1Upstream) -> None:
        """The handshake is over."""
        if upstream in self._opening:
            if _wants_http2(upstream):
                other = self._both.chosen = self._both.http2
                other.take_waiting(self.give_waiting())
                other.adopt(upstream, self._opening.pop(upstream))
                return
            self.stats.upstream_cx_http1_total.value += 1
            self._both.chosen = self
        super().connected(upstream)
