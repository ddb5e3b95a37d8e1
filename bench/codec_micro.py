"""What the HTTP/1 codec costs, in microseconds per message: `python -m bench.codec_micro`.

Messages vary as real ones do: three of nine request lines are fresh each time. The figures are minima over many short
rounds, because a shared machine only ever adds to them. `yardstick` is a fixed piece of interpreter work (twenty
look-ups in a dict); divide by it to compare figures of different hours and machines.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from bench.yardstick import print_fastest
from meshproxy.codec.h1_encode import encode_request_head, encode_response_head
from meshproxy.codec.h1_request import RequestParser
from meshproxy.codec.h1_response import ResponseParser
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http1Options

MESSAGES = 400
ROUNDS = 300


class Sink:
    """Keeps the last head; the cheapest owner a parser can have."""

    request = RequestHeaders()
    response = ResponseHeaders()

    def on_request(self, request: RequestHeaders, end: bool) -> None:
        self.request = request

    def on_response(self, response: ResponseHeaders, end: bool) -> None:
        self.response = response

    def on_response_informational(self, response: ResponseHeaders) -> None: ...

    def on_request_body(self, data: bytes, end: bool) -> None: ...

    on_response_body = on_request_body

    def on_request_trailers(self, trailers: Headers) -> None: ...

    on_response_trailers = on_request_trailers

    def on_dropped_names(self, count: int) -> None: ...

    def on_request_error(self, error: ProtocolError) -> None:
        raise error

    on_response_error = on_request_error


def request(source: random.Random) -> bytes:
    return (
        f"GET /api/v1/items/{source.randrange(200)}?page={source.randrange(99)} HTTP/1.1\r\n"
        "Host: shop.example:8080\r\n"
        "User-Agent: mesh-client/1.4 (linux; x86_64)\r\n"
        "Accept: application/json, text/plain, */*\r\n"
        "Accept-Encoding: gzip, deflate\r\n"
        f"X-Request-Id: {source.getrandbits(128):032x}\r\n"
        f"Traceparent: 00-{source.getrandbits(128):032x}-{source.getrandbits(64):016x}-01\r\n"
        f"Cookie: session={source.getrandbits(128):032x}; theme=dark\r\n"
        "X-Tenant: blue\r\n"
        "Content-Type: application/json\r\n\r\n"
    ).encode()


def response(source: random.Random) -> bytes:
    clock = f"{source.randrange(24):02d}:{source.randrange(60):02d}:{source.randrange(60):02d}"
    return (
        "HTTP/1.1 200 OK\r\n"
        "Server: nginx/1.22.1\r\n"
        f"Date: Mon, 23 Nov 2026 {clock} GMT\r\n"
        "Content-Type: application/json\r\n"
        "Content-Length: 33\r\n"
        "Connection: keep-alive\r\n\r\n" + "x" * 33
    ).encode()


def cases() -> dict[str, Callable[[], None]]:
    source = random.Random(1)
    requests = [request(source) for _ in range(MESSAGES)]
    responses = [response(source) for _ in range(MESSAGES)]
    sink = Sink()
    server = RequestParser(sink, Http1Options())
    client = ResponseParser(sink, Http1Options())

    def parse_requests() -> None:
        for data in requests:
            server.receive(data)
            server.next_message()

    def parse_responses() -> None:
        for data in responses:
            client.expect("GET")
            client.receive(data)

    def encode_requests() -> None:
        for _ in requests:
            encode_request_head(sink.request, True)

    def encode_responses() -> None:
        for _ in responses:
            encode_response_head(sink.response, False, "GET", False, True)

    return {
        "parse request": parse_requests,
        "parse response": parse_responses,
        "encode request": encode_requests,
        "encode response": encode_responses,
    }


def main() -> None:
    print_fastest(cases(), MESSAGES, ROUNDS)


if __name__ == "__main__":
    main()
