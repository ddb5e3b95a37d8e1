"""Statistics that a program sends by itself: over UDP and TCP, from one process and from several."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from .program import running

_METRICS = "type.googleapis.com/envoy.config.metrics.v3"


def _sinks(udp: int, tcp: int) -> str:
    return f"""
stats_flush_interval: 0.1s
stats_config: {{stats_matcher: {{inclusion_list: {{patterns: [{{prefix: http.test.}}]}}}}}}
stats_sinks:
- name: d
  typed_config:
    "@type": {_METRICS}.DogStatsdSink
    address: {{socket_address: {{address: 127.0.0.1, port_value: {udp}, protocol: UDP}}}}
    max_bytes_per_datagram: 1400
- {{name: t, typed_config: {{"@type": {_METRICS}.StatsdSink, tcp_cluster_name: up, prefix: mine}}}}
"""


class Server:
    """lines: all that came, by either way."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.udp.bind(("127.0.0.1", 0))
        asyncio.get_running_loop().add_reader(self.udp, self._datagram)

    def _datagram(self) -> None:
        self.lines += self.udp.recv(65536).decode().split("\n")

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.lines.append(line.decode().rstrip("\n"))
        writer.close()

    def total(self, head: str) -> int:
        """The sum of what the lines of a counter say."""
        return sum(int(line[len(head) :].partition("|")[0]) for line in self.lines if line.startswith(head))


@pytest.mark.parametrize("workers", [1, 2])
async def test_counters_and_times_go_to_statsd(tmp_path: Path, workers: int) -> None:
    server = Server()
    listening = await asyncio.start_server(server.take, "127.0.0.1", 0)
    tcp = listening.sockets[0].getsockname()[1]
    more = _sinks(server.udp.getsockname()[1], tcp)
    async with running(tmp_path, tcp, "--config-yaml", more, "--concurrency", str(workers)) as program:
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", program.port)
            writer.write(b"GET /direct HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200")
            writer.close()
        times = "envoy.http.downstream_rq_time:"
        async with asyncio.timeout(10):
            while (
                server.total("envoy.http.downstream_rq_completed:") < 4
                or server.total("mine.http.test.downstream_rq_completed:") < 4
                or sum(line.startswith(times) for line in server.lines) < 4
            ):
                await asyncio.sleep(0.02)
        (kinds,) = {line.partition("|")[2] for line in server.lines if line.startswith(times)}
        assert kinds == "ms|#envoy.http_conn_manager_prefix:test"
    assert server.total("envoy.http.downstream_rq_completed:") == 4
    assert server.total("mine.http.test.downstream_rq_completed:") == 4
    asyncio.get_running_loop().remove_reader(server.udp)
    server.udp.close()
    listening.close()
