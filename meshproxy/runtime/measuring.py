"""Bytes on the wire and times of the upstream's side, for access logs that ask for them.

Few logs do, and noting them costs something with every read and write, so connections get a meter only if some format
has one of those operators (`Worker.measures`).

Sizes are Envoy's: a head counts without its first line and its end; of a head that was received each field counts its
name, its value and three bytes more, whatever stood between them on the wire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.headers import Headers, RequestHeaders
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import HttpUpstreamSink
from meshproxy.runtime.http1_upstream import Http1Upstream

if TYPE_CHECKING:
    from meshproxy.codec.h1_request import RequestParser
    from meshproxy.headers import ResponseHeaders

_BESIDE_FIELD = 3


def size_of_received(head: Headers, end: bool) -> int:
    """What Envoy counts of a head that was received. end: no body follows."""
    size = sum(len(name) + len(value) + _BESIDE_FIELD for name, value in head.items())
    if isinstance(head, RequestHeaders) and head.authority:
        size += len("host") + len(head.authority) + _BESIDE_FIELD
    if not end and "content-length" not in head.fields:
        size += len("transfer-encoding") + len("chunked") + _BESIDE_FIELD  # which the codec has taken out
    return size


def size_of_sent(head: bytes) -> int:
    """What Envoy counts of a head that was sent; `head` may have a body behind it."""
    return head.index(b"\r\n\r\n") - head.index(b"\r\n")


class DownstreamMeter:
    """Counts the bytes of one downstream connection and shares them out among its requests."""

    __slots__ = ("_received_before", "_sent_before", "received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
        self._received_before = 0
        self._sent_before = 0

    def head_received(self, stream: StreamInfo, request: RequestHeaders, end: bool) -> None:
        """A request begins."""
        size = size_of_received(request, end)
        stream.downstream_header_bytes_received = stream.downstream_decompressed_header_bytes_received = size

    def head_sent(self, stream: StreamInfo, head: bytes) -> None:
        """A response begins."""
        size = size_of_sent(head)
        stream.downstream_header_bytes_sent = stream.downstream_decompressed_header_bytes_sent = size

    def share(self, stream: StreamInfo, parser: RequestParser) -> None:
        """A request is over: what came and went since the one before is its own."""
        consumed = self.received - parser.buffered
        stream.downstream_wire_bytes_received = consumed - self._received_before
        stream.downstream_wire_bytes_sent = self.sent - self._sent_before
        self._received_before, self._sent_before = consumed, self.sent

    def give_back(self, stream: StreamInfo) -> None:
        """The request goes on after all: its bytes are the next stream's as well."""
        self._received_before -= stream.downstream_wire_bytes_received
        self._sent_before -= stream.downstream_wire_bytes_sent


class MeteredHttp1Upstream(Http1Upstream):
    """Notes bytes and times in the stream whose request it carries, if the sink names one (`stream_info`).

    The bytes of several attempts add up; of the times the last attempt's are told.
    """

    _info: StreamInfo | None = None

    def start(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink) -> None:
        self._info = info = getattr(sink, "stream_info", None)
        if info is not None:
            info.first_upstream_tx = 0.0
        super().start(request, end, sink)

    def _write(self, data: bytes) -> None:
        info = self._info
        if info is not None and self._sink is not None:
            info.last_upstream_tx = self.pool.cluster.worker.loop.time()
            if not info.first_upstream_tx:
                info.first_upstream_tx = info.last_upstream_tx
                size = size_of_sent(data)
                info.upstream_header_bytes_sent += size
                info.upstream_decompressed_header_bytes_sent += size
            info.upstream_wire_bytes_sent += len(data)
        super()._write(data)

    def data_received(self, data: bytes) -> None:
        info = self._info
        if info is not None and self._sink is not None:
            info.last_upstream_rx = self.pool.cluster.worker.loop.time()
            info.upstream_wire_bytes_received += len(data)
        super().data_received(data)

    def on_response(self, response: ResponseHeaders, end: bool) -> None:
        info = self._info
        if info is not None and self._sink is not None:
            size = size_of_received(response, end)
            info.upstream_header_bytes_received += size
            info.upstream_decompressed_header_bytes_received += size
        super().on_response(response, end)
