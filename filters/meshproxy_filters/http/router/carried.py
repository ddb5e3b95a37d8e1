"""What stands between the router and an upstream request, where a configuration asks for it.

A `Carried` attempt is the sink of the request and the upstream of the router, and hands everything on in both
directions; each kind looks at what passes: `router_log` writes it down, `router_measure` measures it. Several may stand
one behind the other. A router without them has nothing to do with this.
"""

from __future__ import annotations

from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.plugin.context import Stream
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import Host, HttpUpstream, HttpUpstreamSink


class Carried(HttpUpstream):
    """See the module."""

    def __init__(self, stream: Stream, host: Host, sink: HttpUpstreamSink) -> None:
        self.host = host
        self.stream_info = stream
        self._stream = stream
        self._sink = sink
        self._upstream: HttpUpstream | None = None

    def carry(self, upstream: HttpUpstream) -> HttpUpstream:
        """The request has been begun."""
        if self._upstream is None:
            self._take(upstream)
        return self

    def add_flag(self, flag: str) -> None:
        """Why the router is about to give the attempt up."""
        if isinstance(self._upstream, Carried):
            self._upstream.add_flag(flag)

    def _take(self, upstream: HttpUpstream) -> None:
        self._upstream = upstream
        if upstream.local_address:
            self.local_address = upstream.local_address
            self.connection_id = upstream.connection_id
            self.protocol = upstream.protocol
            self.tls = upstream.tls

    # What the upstream request calls.

    def on_upstream_ready(self, upstream: HttpUpstream) -> None:
        self._take(upstream)
        self._sink.on_upstream_ready(self)

    def on_upstream_informational(self, response: ResponseHeaders) -> None:
        self._sink.on_upstream_informational(response)

    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None:
        self._sink.on_upstream_response(response, end)

    def on_upstream_body(self, data: bytes, end: bool) -> None:
        self._sink.on_upstream_body(data, end)

    def on_upstream_trailers(self, trailers: Headers) -> None:
        self._sink.on_upstream_trailers(trailers)

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        self._sink.on_upstream_reset(reason, detail)

    def on_upstream_blocked(self, blocked: bool) -> None:
        self._sink.on_upstream_blocked(blocked)

    def on_upstream_read_done(self) -> None:
        self._sink.on_upstream_read_done()

    # What the router calls.

    def send_body(self, data: bytes, end: bool) -> None:
        if self._upstream is not None:
            self._upstream.send_body(data, end)

    def send_trailers(self, trailers: Headers) -> None:
        if self._upstream is not None:
            self._upstream.send_trailers(trailers)

    def flush(self) -> None:
        if self._upstream is not None:
            self._upstream.flush()

    def read_disable(self, disable: bool) -> None:
        if self._upstream is not None:
            self._upstream.read_disable(disable)

    def reset(self) -> None:
        if self._upstream is not None:
            self._upstream.reset()
