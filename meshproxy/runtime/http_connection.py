"""The HTTP connection manager on a connection whose client hasn't sent anything yet.

The first bytes tell which codec the client speaks, and a connection of that codec takes over. So a client that never
sends anything costs little, and is counted for no protocol (as in Envoy, which makes its codec then).
"""

from __future__ import annotations

from collections.abc import Iterable

from meshproxy.plugin.context import Connection
from meshproxy.runtime.http1_connection import Http1Connection
from meshproxy.runtime.http_downstream import DownstreamConnection
from meshproxy.runtime.http_stream import HttpServerStream


class HttpConnection(DownstreamConnection):
    """See the module. It is what filter chains name."""

    def on_refused(self, connection: Connection) -> None:
        stats = self.manager.stats
        stats.cx_total.value += 1
        stats.cx_destroy.value += 1

    def on_data(self, data: bytes, end: bool, connection: Connection) -> None:
        if end:
            self.connection.close()
            return
        successor = Http1Connection(self.manager, self.context)
        self.connection.replace_terminal(successor)
        successor.take_over(self)
        successor.on_data(data, end, connection)

    def is_busy(self) -> bool:
        return False

    def live_streams(self) -> Iterable[HttpServerStream]:
        return ()

    def stream_finished(self, stream: HttpServerStream, cut: bool) -> None:
        raise AssertionError("there are no streams yet")

    def _idle_too_long(self) -> None:
        self.manager.stats.cx_idle_timeout.value += 1
        self._close(0.0)  # there is no last request to wait for

    def _duration_reached(self) -> None:
        self.manager.stats.cx_max_duration_reached.value += 1
        self._close(0.0)

    def _drained(self) -> None:
        self._close(0.0)
