"""What the HTTP/2 codec costs, in microseconds per message: `python -m bench.h2_micro`.

A request has ten fields beside the pseudo-fields' four; path, request id and trace are fresh in each, as in a mesh.
Blocks "of a mesh" are our own encoder's (fresh values as plain literals); those "of hpack" are Huffman-coded and enter
the table, as most other clients have it. Figures are minima over many short rounds. `yardstick` is twenty look-ups in a
dict, as in `codec_micro`; divide by it to compare hours and machines.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import hpack

from bench.yardstick import print_fastest
from meshproxy.codec.h2_client import Http2ClientCodec
from meshproxy.codec.h2_server import Http2ServerCodec
from meshproxy.codec.hpack_decode import Decoder
from meshproxy.codec.hpack_encode import Encoder
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http2Options

MESSAGES = 400
ROUNDS = 100


class Sink:
    """The cheapest owner that a connection can have."""

    def on_output(self) -> None: ...

    def on_stream_request(self, sid: int, request: RequestHeaders, end: bool) -> None: ...

    def on_stream_response(self, sid: int, response: ResponseHeaders, end: bool) -> None: ...

    def on_stream_informational(self, sid: int, response: ResponseHeaders) -> None: ...

    def on_stream_data(self, sid: int, data: bytes, end: bool) -> None: ...

    def on_stream_trailers(self, sid: int, trailers: Headers) -> None: ...

    def on_stream_reset(self, sid: int, code: int) -> None: ...

    def on_stream_error(self, sid: int, error: ProtocolError) -> None: ...

    def on_stream_blocked(self, sid: int, blocked: bool) -> None: ...

    def on_goaway(self, last_sid: int, code: int) -> None: ...

    def on_settings(self) -> None: ...

    def on_ping_ack(self, payload: bytes) -> None: ...

    def on_count(self, name: str) -> None: ...

    def on_connection_error(self, error: ProtocolError) -> None:
        raise error


def request(source: random.Random) -> RequestHeaders:
    return RequestHeaders(
        "GET",
        f"/api/v1/items/{source.randrange(200)}?page={source.randrange(99)}",
        "shop.example:8080",
        "http",
        [
            ("user-agent", "mesh-client/1.4 (linux; x86_64)"),
            ("accept", "application/json, text/plain, */*"),
            ("accept-encoding", "gzip, deflate"),
            ("x-request-id", f"{source.getrandbits(128):032x}"),
            ("traceparent", f"00-{source.getrandbits(128):032x}-{source.getrandbits(64):016x}-01"),
            ("x-tenant", "blue"),
            ("content-type", "application/json"),
            ("x-forwarded-proto", "http"),
            ("x-envoy-attempt-count", "1"),
            ("te", "trailers"),
        ],
    )


def response(source: random.Random) -> ResponseHeaders:
    clock = f"{source.randrange(24):02d}:{source.randrange(60):02d}:{source.randrange(60):02d}"
    return ResponseHeaders(
        200,
        [
            ("content-type", "application/json"),
            ("content-length", "33"),
            ("date", f"Mon, 23 Nov 2026 {clock} GMT"),
            ("server", "envoy"),
            ("x-envoy-upstream-service-time", str(source.randrange(9))),
        ],
    )


def fields_of(head: RequestHeaders) -> list[tuple[str, str]]:
    pseudo = [(":method", head.method), (":scheme", head.scheme), (":authority", head.authority), (":path", head.path)]
    return pseudo + list(head.items())


def cases() -> dict[str, Callable[[], None]]:
    source = random.Random(1)
    requests = [request(source) for _ in range(MESSAGES)]
    responses = [response(source) for _ in range(MESSAGES)]
    lists = [fields_of(head) for head in requests]
    ours, theirs = Encoder(), hpack.Encoder()
    mesh = [ours.encode(fields[2:], b"\x82\x86") for fields in lists]
    other = [theirs.encode(fields) for fields in lists]
    sink, options = Sink(), Http2Options()
    body = b"x" * 33
    sender = Http2ClientCodec(sink, options, time.monotonic)
    greeting = sender.take()
    sent = []
    for head in requests:
        sender.send_request(head, True)
        sent.append(sender.take())

    def decode(blocks: list[bytes]) -> None:
        decoder = Decoder()
        for block in blocks:
            decoder.decode(block)

    def encode() -> None:
        for each in lists:
            ours.encode(each[2:], b"\x82\x86")

    def serve() -> None:
        server = Http2ServerCodec(sink, options, time.monotonic)
        server.receive(greeting)
        sid = 1
        for data, answer in zip(sent, responses, strict=True):
            server.receive(data)
            server.send_response(sid, answer, False)
            server.send_data(sid, body, True)
            server.take()
            sid += 2

    def ask() -> None:
        client = Http2ClientCodec(sink, options, time.monotonic)
        client._peer_max_streams = MESSAGES
        for head in requests:
            client.send_request(head, True)
            client.take()

    return {
        "decode a block of a mesh": lambda: decode(mesh),
        "decode a block of hpack": lambda: decode(other),
        "encode a block": encode,
        "serve: request in, response out": serve,
        "ask: request out": ask,
    }


def main() -> None:
    print_fastest(cases(), MESSAGES, ROUNDS)


if __name__ == "__main__":
    main()
