"""What is left of an HTTP connection when it is over: nothing, and that without the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

import pytest

from meshproxy.config.text.bootstrap_load import read_source
from meshproxy.plugin.listener import Socket
from meshproxy.plugin.stream_info import ConnectionInfo
from meshproxy.proxy import Proxy, load_configuration, make_logger
from meshproxy.runtime.downstream.connection import ServerConnection
from meshproxy.runtime.process.lifecycle import Lifecycle
from meshproxy.runtime.process.options import Options

CONFIG = """
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: hcm
          common_http_protocol_options: {idle_timeout: 30s, max_connection_duration: 60s}
          request_headers_timeout: 5s
          delayed_close_timeout: 0s
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, direct_response: {status: 204}}]
"""
HEAD = b"GET / HTTP/1.1\r\nhost: a\r\n"
# PRI..., SETTINGS; HEADERS of a GET with and without the end of the stream.
START = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
GET = bytes.fromhex("00000a010500000001") + b"\x82\x86\x84\x41\x05a.tes"
POST = bytes.fromhex("00000a010400000003") + b"\x83\x86\x84\x41\x05a.tes"

SETTINGS = bytes.fromhex("000018040000000000")


class Transport:
    """Takes everything."""

    def __init__(self) -> None:
        self.written = b""

    def set_write_buffer_limits(self, high: int) -> None: ...

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None: ...


async def _live_and_end(directory: Path, pieces: list[bytes]) -> tuple[bytes, object]:
    """What the client was sent, and the connection if it is still there after its end."""
    (directory / "config.yaml").write_text(CONFIG)
    loop = asyncio.get_running_loop()
    configuration = load_configuration([read_source(directory / "config.yaml")])
    proxy = Proxy(loop, configuration, Options(), Lifecycle(loop, make_logger("main")))
    proxy.start({})
    try:
        listener = proxy.listeners.active[0]
        facts = Socket(("127.0.0.1", 2), ("127.0.0.1", 1), ("127.0.0.1", 2), ("127.0.0.1", 1))
        chain = listener.chains.find(facts)
        assert chain is not None
        connection = ServerConnection(
            proxy.worker, listener.config, chain.makers, facts, ConnectionInfo(), lambda _: None
        )
        transport = Transport()
        connection.connection_made(transport)
        for piece in pieces:
            connection.data_received(piece)
        connection.pause_writing()  # the answer takes its time to leave
        connection.resume_writing()
        connection.connection_lost(None)
        assert not connection.busy
        connection.announce_end()  # a drain that has just missed its end
        left = weakref.ref(connection)
        del connection
        await asyncio.sleep(0)  # what was to be done in the next turn
        return transport.written, left()
    finally:
        proxy.close()


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        pytest.param([], b"", id="silent"),
        pytest.param([HEAD[:20]], b"", id="half-a-head"),
        pytest.param([HEAD + b"\r\n"], b"HTTP/1.1 204 No Content\r\n", id="kept-alive"),
        pytest.param([HEAD + b"connection: close\r\n\r\n"], b"HTTP/1.1 204 No Content\r\n", id="closed"),
        pytest.param([START], SETTINGS, id="http2-silent"),
        pytest.param([START + GET], SETTINGS, id="http2-answered"),
        pytest.param([START + POST[:12]], SETTINGS, id="http2-half-a-frame"),
        pytest.param([START + POST, bytes.fromhex("000000000100000003")], SETTINGS, id="http2-body"),
        pytest.param([START + GET + bytes.fromhex("000000070000000000")], SETTINGS, id="http2-broken"),
    ],
)
def test_nothing_is_left(tmp_path: Path, pieces: list[bytes], answer: bytes) -> None:
    gc.disable()
    try:
        written, left = asyncio.run(_live_and_end(tmp_path, pieces))
    finally:
        gc.enable()
    assert written[: len(answer) or 1] == answer
    assert left is None
