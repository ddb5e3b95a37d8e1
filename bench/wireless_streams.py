"""Messages of gRPC on calls that never end, as in `wireless_http2`: there and back, each in a read of its own."""

from __future__ import annotations

from typing import Any

import hpack

from bench.load_h2 import STREAMS
from bench.stream_client import GRPC
from bench.stream_server import MESSAGE
from bench.wireless_http2 import WirelessHttp2Proxy, frame
from meshproxy.codec import h2_frames as h2
from meshproxy.runtime.upstream.connections.http2_upstream import Http2Upstream


class WirelessStreamsProxy(WirelessHttp2Proxy):
    """`STREAMS` calls on one connection."""

    grpc = True

    def batch(self, count: int) -> list[bytes]:
        """`count` messages, for the calls in turn, which are made anew."""
        before = {(upstream, sid) for upstream in self._http2 for sid in upstream.requests}
        super().batch(0)
        encoder, sids = hpack.Encoder(), range(1, 2 * STREAMS, 2)
        for sid in sids:
            self._connection.data_received(frame(h2.HEADERS, h2.END_HEADERS, sid, encoder.encode(GRPC)))
        self._calls: list[tuple[Http2Upstream, bytes]] = []
        for upstream in self._http2:
            upstream._write()
            for sid in tuple(upstream.requests):
                if (upstream, sid) not in before:
                    upstream.data_received(frame(h2.HEADERS, h2.END_HEADERS, sid, b"\x88"))
                    self._calls.append((upstream, frame(h2.DATA, 0, sid, MESSAGE)))
        manager: Any = self._connection._sole
        self._manager = manager
        manager._write_out()
        return [frame(h2.DATA, 0, sid, MESSAGE) for sid in sids] * (count // STREAMS)

    def serve(self, batch: list[bytes]) -> None:
        """Each message goes to a host and comes back."""
        receive, calls = self._connection.data_received, self._calls
        for number, message in enumerate(batch):
            receive(message)
            upstream, answer = calls[number % STREAMS]
            upstream._write()  # what the loop would do in its next turn
            upstream.data_received(answer)
            self._manager._write_out()  # the same
