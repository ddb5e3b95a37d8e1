"""The HTTP connection manager on a connection whose client hasn't sent anything yet.

The first bytes tell which codec the client speaks, and a connection of that codec takes over. So a client that never
sends anything costs little, and is counted for no protocol (as in Envoy, which makes its codec then).

The timers of the connection aren't armed anew for that: the first object passes on what they tell it.

With `codec_type: AUTO` the protocol that TLS negotiated decides; without one, whether the bytes begin as HTTP/2 does.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshproxy.codec.h2_frames import PREFACE
from meshproxy.plugin.context import Connection
from meshproxy.runtime.downstream.http1_connection import Http1Connection
from meshproxy.runtime.downstream.http_downstream import DownstreamConnection
from meshproxy.runtime.downstream.http_stream import HttpServerStream

_BEGINNING = PREFACE[:12]  # all that Envoy asks for, too


class HttpConnection(DownstreamConnection):
    """See the module. It is what filter chains name."""

    _successor: DownstreamConnection | None = None

    def on_refused(self, connection: Connection) -> None:
        stats = self.manager.stats
        stats.cx_total.value += 1
        stats.cx_destroy.value += 1

    def on_data(self, data: bytes, end: bool, connection: Connection) -> None:
        if end:
            self.connection.close()
            return
        successor = self._successor = self._choose(data)(self.manager, self.context)
        self.connection.replace_terminal(successor)
        successor.take_over(self)
        successor.on_data(data, end, connection)

    def _choose(self, data: bytes) -> type[DownstreamConnection]:
        codec = self.manager.config.codec_type
        if codec == "AUTO":
            alpn = self.connection.info.alpn
            is_http2 = alpn == "h2" if alpn else data.startswith(_BEGINNING)
        else:
            is_http2 = codec == "HTTP2"
        if not is_http2:
            return Http1Connection
        from meshproxy.runtime.downstream.http2_connection import (
            Http2Connection,  # loaded with the first client that speaks it
        )

        return Http2Connection

    def is_busy(self) -> bool:
        return False

    def live_streams(self) -> Iterable[HttpServerStream]:
        return ()

    def stream_finished(self, stream: HttpServerStream, cut: bool) -> None:
        raise AssertionError("there are no streams yet")

    def _look(self) -> None:
        if self._successor is not None:
            self._successor._look()
        else:
            super()._look()

    def _idle_too_long(self) -> None:
        self.manager.stats.cx_idle_timeout.value += 1
        self._close(0.0)  # there is no last request to wait for

    def _duration_reached(self) -> None:
        if self._successor is not None:
            self._successor._duration_reached()
            return
        self.manager.stats.cx_max_duration_reached.value += 1
        self._close(0.0)

    def _drained(self) -> None:
        self._close(0.0)
