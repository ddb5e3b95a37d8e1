"""`istio.alpn` on the wire: what a TLS upstream is offered, with and without the override."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.certificates import folder
from tests.system.program import Client, bootstrap, free_ports, serving

ALPN = """
          - name: istio.alpn
            typed_config:
              "@type": type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig
              alpn_override:
              - {alpn_override: [istio-http/1.0, istio]}
              - {upstream_protocol: HTTP11, alpn_override: [istio-http/1.1, istio, http/1.1]}
              - {upstream_protocol: HTTP2, alpn_override: [istio-h2, istio, h2]}"""


@pytest.mark.parametrize(
    ("filters", "metadata", "chosen"),
    [
        (ALPN, "{}", "istio-http/1.1"),
        ("", "{}", "istio"),
        (ALPN, "{filter_metadata: {istio: {alpn_override: 'false'}}}", "istio"),
    ],
    ids=["overridden", "as-configured", "left-alone"],
)
async def test_what_is_offered(tmp_path: Path, filters: str, metadata: str, chosen: str) -> None:
    context = folder().server_context(alpn=("istio-http/1.1", "istio-h2", "istio"))
    seen: list[str | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    tls = f"""    metadata: {metadata}
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {{alpn_protocols: [istio]}}
"""
    port, admin = free_ports(2)
    config = bootstrap(port, admin, server.sockets[0].getsockname()[1], extra=tls)
    config = config.replace("          http_filters:", "          http_filters:" + filters)
    async with server, serving(tmp_path, config, port, admin):
        client = await Client.connect(port)
        for _ in range(3):
            assert (await client.get())[0] == 200
        assert seen == [chosen]  # and one connection is enough
