"""The access log as a gRPC service gets it: from a whole proxy, by grpcio's server. Entries are as Envoy's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from envoy.service.accesslog.v3 import als_pb2

from tests.system.test_grpc import HTTP2
from tests.system.upstream_rig import Peer, Upstream, bootstrap, endpoints, running, until

LOG = """access_log:
          - name: service
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
              common_config:
                log_name: mine
                transport_api_version: V3
                buffer_flush_interval: 0.05s
                grpc_service: {envoy_grpc: {cluster_name: als}}
              additional_request_headers_to_log: [X-Mine]
              additional_response_headers_to_log: [x-yours]
          stat_prefix: h
"""


class LogService(grpc.GenericRpcHandler):
    """messages: all that came. streams: how many there were."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.streams = 0

    def service(self, details: Any) -> Any:
        if details.method != "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs":
            return None
        return grpc.stream_unary_rpc_method_handler(self.take)

    async def take(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        self.streams += 1
        async for request in requests:
            self.messages.append(als_pb2.StreamAccessLogsMessage.FromString(request))
        return b""

    def entries(self) -> list[Any]:
        return [entry for message in self.messages for entry in message.http_logs.log_entry]


async def serve(peer: Peer) -> None:
    while await peer.head():
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-yours: b\r\n\r\nok")


def with_log(upstream: tuple[str, int], service: int) -> str:
    text = bootstrap("connect_timeout: 1s, " + endpoints(upstream)).replace("stat_prefix: h\n", LOG)
    als = f"{{name: als, {HTTP2}, connect_timeout: 1s, {endpoints(('127.0.0.1', service))}}}"
    return text.replace("clusters: [", f"clusters: [{als.replace('cluster_name: c', 'cluster_name: als')}, ")


async def test_entries_come_in_batches_on_one_stream() -> None:
    log = LogService()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((log,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Upstream(serve) as upstream, running(with_log(upstream.address, port)) as proxy:
            for _ in range(3):
                await proxy.get("/a?b=c", headers=("x-mine: 1",))
            await until(lambda: len(log.entries()) == 3)
            assert log.streams == 1
            assert [message.HasField("identifier") for message in log.messages] == [True] + [False] * (
                len(log.messages) - 1
            )
            assert log.messages[0].identifier.log_name == "mine"
            entry = log.entries()[0]
            assert (entry.request.path, entry.request.authority) == ("/a?b=c", "h")
            assert entry.request.request_headers == {"x-mine": "1"}
            assert entry.response.response_headers == {"x-yours": "b"}
            assert (entry.response.response_code.value, entry.response.response_body_bytes) == (200, 2)
            assert entry.response.response_code_details == "via_upstream"
            common = entry.common_properties
            assert common.upstream_cluster == "c"
            assert common.upstream_remote_address.socket_address.port_value == upstream.address[1]
            assert common.downstream_wire_bytes_sent > 100
            assert not common.HasField("response_flags")

            await upstream.__aexit__(None, None, None)
            assert (await proxy.get()).status == 503
            await until(lambda: len(log.entries()) == 4)
            failed = log.entries()[3].common_properties
            assert (
                failed.response_flags.upstream_connection_failure
                or failed.response_flags.upstream_connection_termination
            )
    finally:
        await server.stop(0)


async def test_a_service_that_is_not_there_costs_nobody_anything() -> None:
    async with Upstream(serve) as upstream, running(with_log(upstream.address, 9)) as proxy:
        for _ in range(3):
            assert (await proxy.get()).status == 200
            await asyncio.sleep(0.1)
        assert (await proxy.get()).status == 200
