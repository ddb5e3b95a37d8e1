"""gRPC through the whole program, between grpcio's client and grpcio's server: what their users see is gRPC's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.system.program import Program, free_ports, serving

PACKAGE = "type.googleapis.com/envoy.extensions"
HTTP2 = (
    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: "
    f"{{'@type': {PACKAGE}.upstreams.http.v3.HttpProtocolOptions, "
    "explicit_http_config: {http2_protocol_options: {}}}}"
)
MEBIBYTE = 1 << 20
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def bootstrap(port: int, admin: int, upstream: str, dead: int) -> str:
    return f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": {PACKAGE}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: test
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /test.Echo/Dead}}
                route: {{cluster: dead, timeout: 0s}}
              - match: {{prefix: /test.Echo/Flaky}}
                route: {{cluster: up, timeout: 0s, retry_policy: {{retry_on: "unavailable,cancelled", num_retries: 3}}}}
              - match: {{prefix: /test.Echo/Short}}
                route: {{cluster: up, timeout: 0s, max_stream_duration: {{grpc_timeout_header_max: 0.3s}}}}
              - match: {{prefix: /test.Echo/, grpc: {{}}}}
                route: {{cluster: up, timeout: 0s}}
          http_filters:
          - {{name: router, typed_config: {{"@type": {PACKAGE}.filters.http.router.v3.Router}}}}
  clusters:
  - name: up
    connect_timeout: 1s
    {HTTP2}
    load_assignment:
      cluster_name: up
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{{upstream}}}}}}}]}}]
  - name: dead
    connect_timeout: 1s
    {HTTP2}
    load_assignment:
      cluster_name: dead
      endpoints:
      - lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {dead}}}}}}}}}]
"""


class Echo(grpc.GenericRpcHandler):
    """A service without generated code: messages are bytes."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.calls = 0
        self.metadata: dict[str, Any] = {}

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        self.metadata = {item.key: item.value for item in details.invocation_metadata}
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Flaky": grpc.unary_unary_rpc_method_handler(self.flaky),
            "Fails": grpc.unary_unary_rpc_method_handler(self.fails),
            "Slow": grpc.unary_unary_rpc_method_handler(self.slow),
            "Short": grpc.unary_unary_rpc_method_handler(self.slow),
            "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
        }
        return handlers.get(name)

    async def unary(self, request: bytes, context: Any) -> bytes:
        await context.send_initial_metadata((("x-first", "1"), ("x-bin-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-last", "2"),))
        return request

    async def flaky(self, request: bytes, context: Any) -> bytes:
        self.calls += 1
        if self.calls < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return b"at last"

    async def fails(self, request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: ü 100% \n sure")
        return b""

    async def slow(self, request: bytes, context: Any) -> bytes:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""

    async def sum(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return str(sum([len(request) async for request in requests])).encode()

    async def count(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        piece = bytes(MEBIBYTE)
        for _ in range(int(request)):
            yield piece

    async def chat(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield b"you said " + request


class Rig:
    """Client, proxy and server."""

    def __init__(self, program: Program, channel: grpc.aio.Channel, echo: Echo) -> None:
        self.program = program
        self.channel = channel
        self.echo = echo

    def unary(self, name: str) -> Any:
        return self.channel.unary_unary(f"/test.Echo/{name}")


@asynccontextmanager
async def running(directory: Path, *, unix: bool = False) -> AsyncIterator[Rig]:
    echo = Echo()
    server = grpc.aio.server(options=UNLIMITED)
    server.add_generic_rpc_handlers((echo,))
    port, admin, dead = free_ports(3)
    if unix:
        path = directory / "s"
        server.add_insecure_port(f"unix:{path}")
        address = f"pipe: {{path: '{path}'}}"
    else:
        number = server.add_insecure_port("127.0.0.1:0")
        address = f"socket_address: {{address: 127.0.0.1, port_value: {number}}}"
    await server.start()
    try:
        async with (
            serving(directory, bootstrap(port, admin, address, dead), port, admin) as program,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED) as channel,
        ):
            yield Rig(program, channel, echo)
    finally:
        await server.stop(0)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as made:
        yield made


async def test_a_unary_call_with_metadata_both_ways(rig: Rig) -> None:
    call = rig.unary("Unary")(b"hello", metadata=(("x-mine", "a"), ("x-raw-bin", b"\x00\x01\xfe")), timeout=10)
    assert await call == b"hello"
    first = dict(await call.initial_metadata())
    assert (first["x-first"], first["x-bin-bin"]) == ("1", b"\x00\xff")
    assert dict(await call.trailing_metadata())["x-last"] == "2"
    assert await call.code() is grpc.StatusCode.OK
    assert rig.echo.metadata["x-mine"] == "a"
    assert rig.echo.metadata["x-raw-bin"] == b"\x00\x01\xfe"


async def test_many_calls_share_one_connection(rig: Rig) -> None:
    call = rig.unary("Unary")
    replies = await asyncio.gather(*(call(b"%d" % number, timeout=20) for number in range(300)))
    assert replies == [b"%d" % number for number in range(300)]
    assert await rig.program.statistic("cluster.up.upstream_cx_http2_total") == 1
    assert await rig.program.statistic("cluster.up.upstream_rq_total") == 300
    assert await rig.program.statistic("cluster.up.upstream_rq_active") == 0


async def test_streams_in_each_direction(rig: Rig) -> None:
    async def requests() -> AsyncIterator[bytes]:
        for size in range(100):
            yield bytes(size)

    total = await rig.channel.stream_unary("/test.Echo/Sum")(requests(), timeout=10)
    assert total == str(sum(range(100))).encode()
    received = [m async for m in rig.channel.unary_stream("/test.Echo/Count")(b"5", timeout=10)]
    assert [len(message) for message in received] == [MEBIBYTE] * 5


async def test_a_conversation_goes_message_by_message(rig: Rig) -> None:
    call = rig.channel.stream_stream("/test.Echo/Chat")(timeout=10)
    for word in (b"one", b"two", b"three"):
        await call.write(word)
        assert await call.read() == b"you said " + word  # before the next one is sent
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_100_mebibytes_each_way_stay_in_no_buffer(rig: Rig) -> None:
    before = rig.program.resident()
    largest = 0
    count = 0
    async for message in rig.channel.unary_stream("/test.Echo/Count")(b"100", timeout=60):
        count += len(message)
        largest = max(largest, rig.program.resident())
        if not count % (16 * MEBIBYTE):
            await asyncio.sleep(0.1)  # a reader that is slower than the writer
    assert count == 100 * MEBIBYTE

    async def requests() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(MEBIBYTE)

    total = await rig.channel.stream_unary("/test.Echo/Sum")(requests(), timeout=60)
    assert total == str(100 * MEBIBYTE).encode()
    largest = max(largest, rig.program.resident())
    assert largest - before < 64 * MEBIBYTE


@pytest.mark.parametrize(
    ("method", "code", "details"),
    [
        ("Fails", grpc.StatusCode.FAILED_PRECONDITION, "no: ü 100% \n sure"),
        ("Missing", grpc.StatusCode.UNIMPLEMENTED, None),
        ("Dead", grpc.StatusCode.UNAVAILABLE, None),
    ],
)
async def test_errors_arrive_as_they_are(rig: Rig, method: str, code: grpc.StatusCode, details: str | None) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.unary(method)(b"", timeout=10)
    assert caught.value.code() is code
    if details is not None:
        assert caught.value.details() == details


async def test_a_route_that_is_not_there_is_unimplemented(rig: Rig) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.channel.unary_unary("/other.Service/Method")(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_what_grpc_calls_unavailable_is_tried_again(rig: Rig) -> None:
    assert await rig.unary("Flaky")(b"", timeout=10) == b"at last"
    assert rig.echo.calls == 3
    assert await rig.program.statistic("cluster.up.upstream_rq_retry_success") == 1


async def test_a_deadline_ends_the_call_at_the_server_too(rig: Rig) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.unary("Slow")(b"", timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(rig.echo.cancelled.wait(), 20)


async def test_the_route_limits_the_deadline(rig: Rig) -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.unary("Short")(b"", timeout=20)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert asyncio.get_running_loop().time() - began < 5
    await asyncio.wait_for(rig.echo.cancelled.wait(), 20)


async def test_cancelling_reaches_the_server(rig: Rig) -> None:
    call = rig.unary("Slow")(b"", timeout=20)
    await asyncio.sleep(0.3)
    call.cancel()
    await asyncio.wait_for(rig.echo.cancelled.wait(), 20)
    assert await rig.unary("Unary")(b"still here", timeout=10) == b"still here"
    assert await rig.program.statistic("cluster.up.upstream_cx_http2_total") == 1


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    async with running(tmp_path, unix=True) as rig:
        assert await rig.unary("Unary")(b"hello", timeout=10) == b"hello"
