"""The same path as in `wireless` for HTTP/2 on both sides: one client's connection, one connection to each host.

The client's blocks of fields are made by the package `hpack`, Huffman-coded and with its table in use as most clients
have it; the host's are such as nginx writes, which uses no table.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import hpack

from bench.backend import BODY
from bench.load_h2 import AREAS, FIELDS, STREAMS
from bench.wireless import FakeTransport, WirelessProxy
from meshproxy.codec import h2_frames as h2
from meshproxy.runtime.upstream.connections.http2_pool import Http2Pool
from meshproxy.runtime.upstream.connections.http2_upstream import Http2Upstream

_WIDE = 1 << 30
_GREETING = h2.settings([(h2.INITIAL_WINDOW_SIZE, _WIDE), (h2.MAX_CONCURRENT_STREAMS, 1000)])
_CALL = b"\0\0\0\0\x40" + b"m" * 64
_REPLY = b"\0\0\0\0\x21" + BODY.encode()


def frame(kind: int, flags: int, sid: int, payload: bytes) -> bytes:
    return h2.pack_head(len(payload) << 8 | kind, flags, sid) + payload


def _of_nginx(fields: list[tuple[str, str]]) -> bytes:
    """Fields as nginx codes those of a head: by Huffman, and told to be indexed, if the table weren't empty."""
    return bytes(hpack.Encoder().encode(fields))


def _trailer_of_nginx(name: str, value: str) -> bytes:
    """The same of a trailer, which isn't to be indexed."""
    return b"\0" + hpack.Encoder().encode([(name, value, True)])[1:]


@cache
def _requests(count: int, grpc: bool) -> list[bytes]:
    encoder, rng, made = hpack.Encoder(), random.Random(1), []
    fields: list[tuple[str, str]] = []
    for field in FIELDS:
        name, _, value = field.rpartition(": ")
        fields.append((name, value))
    if grpc:
        fields += [("content-type", "application/grpc"), ("te", "trailers")]
    for number in range(count):
        path = f"/{rng.choice(AREAS)}/items/{rng.randrange(10**8)}?page={number % 13}"
        pseudo = [(":method", "POST" if grpc else "GET"), (":scheme", "http"), (":path", path)]
        block = encoder.encode([*pseudo, *fields])
        sid = 2 * number + 1
        request = frame(h2.HEADERS, h2.END_HEADERS | (0 if grpc else h2.END_STREAM), sid, block)
        made.append(request + (frame(h2.DATA, h2.END_STREAM, sid, _CALL) if grpc else b""))
    return [b"".join(made[start : start + STREAMS]) for start in range(0, count, STREAMS)]


class WirelessHttp2Proxy(WirelessProxy):
    """grpc: unary calls with a message each way, and trailers."""

    grpc = False

    def _open_upstreams(self) -> None:
        self._http2: list[Http2Upstream] = []
        for cluster in self.proxy.worker.clusters:
            for host in cluster.hosts():
                pool = host.pool = Http2Pool(cluster, host, "DEFAULT")
                pool.limits.connections.acquire()
                upstream = Http2Upstream(pool)
                upstream.connection_made(FakeTransport())
                upstream.data_received(_GREETING + h2.window_update(0, _WIDE))
                self._http2.append(upstream)
        kind = "application/grpc" if self.grpc else "application/json"
        fields = [("server", "nginx/1.22.1"), ("date", "Mon, 23 Nov 2026 10:00:00 GMT"), ("content-type", kind)]
        if not self.grpc:
            fields.append(("content-length", str(len(BODY))))
        self._head = b"\x88" + _of_nginx(fields)
        self._trailers = _trailer_of_nginx("grpc-status", "0")

    def batch(self, count: int) -> list[bytes]:
        """`count` requests of a new connection, as many in each piece as a connection has streams."""
        self._connection = self.connect()
        self._connection.data_received(h2.PREFACE + _GREETING + h2.window_update(0, _WIDE))
        return _requests(count, self.grpc)

    def serve(self, batch: list[bytes]) -> None:
        """The requests of each piece at once, and then their answers."""
        receive = self._connection.data_received
        manager: Any = self._connection._sole
        for requests in batch:
            receive(requests)
            for upstream in self._http2:
                upstream._write()  # what the loop would do in its next turn
                upstream.data_received(b"".join(map(self._answer_on, upstream.requests)))
            manager._write_out()  # the same
            assert not manager.streams

    def _answer_on(self, sid: int) -> bytes:
        empty_table = b"\x20" if sid == 1 else b""
        answer = frame(h2.HEADERS, h2.END_HEADERS, sid, empty_table + self._head)
        if not self.grpc:
            return answer + frame(h2.DATA, h2.END_STREAM, sid, BODY.encode())
        trailers = frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, sid, self._trailers)
        return answer + frame(h2.DATA, 0, sid, _REPLY) + trailers


class WirelessGrpcProxy(WirelessHttp2Proxy):
    """Calls."""

    grpc = True
