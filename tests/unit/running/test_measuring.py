"""Sizes of heads as Envoy tells them (numbers observed at Envoy), and how a connection's bytes are shared out."""

from __future__ import annotations

import pytest

from meshproxy.codec.h1_request import RequestParser
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http1Options
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.runtime.downstream.http1_measuring import DownstreamMeter
from meshproxy.runtime.wire_sizes import size_of_received, size_of_sent


@pytest.mark.parametrize(
    ("head", "end", "size"),
    [
        (RequestHeaders("GET", "/", "abc"), True, 10),
        (RequestHeaders("POST", "/", "abc", fields=[("content-length", "5")]), False, 28),
        (RequestHeaders("POST", "/", "abc"), False, 37),  # chunked
        (RequestHeaders("GET", "/long", "abc", fields=[("x-foo", "bar"), ("x-foo", "baz")]), True, 32),
        (ResponseHeaders(200, [("content-length", "2")]), False, 18),
        (ResponseHeaders(204, [("foo", "bar")]), True, 9),
    ],
)
def test_size_of_received(head: Headers, end: bool, size: int) -> None:
    assert size_of_received(head, end) == size


def test_size_of_sent() -> None:
    head = b"GET / HTTP/1.1\r\nhost: abc\r\nx-forwarded-proto: http\r\n\r\n"
    assert size_of_sent(head) == 36
    assert size_of_sent(head + b"hello\r\n\r\n") == 36


class Server:
    """Reads requests and answers none."""

    def on_request(self, request: RequestHeaders, end: bool) -> None: ...
    def on_request_body(self, data: bytes, end: bool) -> None: ...
    def on_request_trailers(self, trailers: Headers) -> None: ...
    def on_dropped_names(self, count: int) -> None: ...
    def on_request_error(self, error: ProtocolError) -> None: ...


def test_each_request_gets_its_own_share() -> None:
    """Two requests arrive together; the second stays in the parser until the first is over."""
    request = b"GET / HTTP/1.1\r\nhost: abc\r\n\r\n"
    parser = RequestParser(Server(), Http1Options())
    meter = DownstreamMeter()
    meter.received = 2 * len(request)
    parser.receive(2 * request)
    shares = []
    for sent in (92, 111):
        meter.sent += sent
        stream = StreamInfo()
        meter.share(stream, parser)
        shares.append((stream.downstream_wire_bytes_received, stream.downstream_wire_bytes_sent))
        parser.next_message()
    assert shares == [(29, 92), (29, 111)]
