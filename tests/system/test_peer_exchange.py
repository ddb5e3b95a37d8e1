"""Istio's exchange of metadata as the client of a TCP connection: our part goes first, the peer's is taken away."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest

from meshproxy.plugin.peer_exchange import own_part
from tests.certificates import folder
from tests.system.program import free_ports, serving

_TYPES = "type.googleapis.com/envoy.extensions"
OURS = own_part("client", {"WORKLOAD_NAME": "a"})
TOLD = own_part("server", {"WORKLOAD_NAME": "b"})


def _bootstrap(port: int, admin: int, upstream: int, log: Path) -> str:
    return f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
node: {{id: client, cluster: c, metadata: {{WORKLOAD_NAME: a}}}}
static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": {_TYPES}.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: t
          cluster: up
          access_log:
          - name: file
            typed_config:
              "@type": {_TYPES}.access_loggers.file.v3.FileAccessLog
              path: {log}
              log_format:
                text_format_source:
                  inline_string: "%UPSTREAM_FILTER_STATE(upstream_peer:FIELD:workload)%\\n"
  clusters:
  - name: up
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
    filters:
    - name: istio.metadata_exchange
      typed_config:
        "@type": type.googleapis.com/udpa.type.v1.TypedStruct
        type_url: type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange
        value: {{protocol: istio-peer-exchange, enable_discovery: true}}
    transport_socket:
      name: tls
      typed_config:
        "@type": {_TYPES}.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {{alpn_protocols: [istio-peer-exchange, istio]}}
"""


@pytest.mark.parametrize(
    ("alpn", "ours", "theirs"),
    [("istio-peer-exchange", OURS, TOLD), ("istio", b"", b"")],
    ids=["agreed", "not-agreed"],
)
async def test_the_peers_part_does_not_reach_the_client(tmp_path: Path, alpn: str, ours: bytes, theirs: bytes) -> None:
    received = b""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            for at in range(len(theirs)):  # byte by byte
                writer.write(theirs[at : at + 1])
                await writer.drain()
            writer.write(b"server first")
            received = await reader.readexactly(len(ours) + 6)
            writer.write(b", then client")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=folder().server_context(alpn=(alpn,)))
    port, admin = free_ports(2)
    log = tmp_path / "access.log"
    config = _bootstrap(port, admin, server.sockets[0].getsockname()[1], log)
    async with server, serving(tmp_path, config, port, admin) as program:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            assert await reader.readexactly(12) == b"server first"
            writer.write(b"client")
            assert await reader.read() == b", then client"
        assert received == ours + b"client"
        writer.close()
        program.send_signal(signal.SIGTERM)
        assert await program.exit_code() == 0
    assert log.read_text() == ("b\n" if theirs else "-\n")
