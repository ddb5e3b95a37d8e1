"""The meter of a client's HTTP/1 connection; sizes as `wire_sizes` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.runtime.wire_sizes import size_of_received, size_of_sent

if TYPE_CHECKING:
    from meshproxy.codec.h1_request import RequestParser


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
