"""Our own gRPC client against grpcio's server: over TCP, a Unix socket and TLS, in each way that a call can go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from meshproxy.model.grpc_service import GrpcService
from meshproxy.plugin.context import GrpcError
from meshproxy.runtime.grpc_client import call, open_stream
from tests.certificates import folder
from tests.system.test_grpc import HTTP2, MEBIBYTE, UNLIMITED, Echo
from tests.system.upstream_rig import Running, bootstrap, endpoints, running

DOWNSTREAM = HTTP2.replace("explicit_http_config", "use_downstream_protocol_config")
CERTS = folder()
TLS = (
    "transport_socket: {name: tls, typed_config: {'@type': "
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, "
    f"common_tls_context: {{validation_context: {{trusted_ca: {{filename: {CERTS.path}/ca.pem}}}}}}}}}}"
)


class Sink:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def on_message(self, data: bytes) -> None:
        self.messages.put_nowait(data)

    def on_closed(self, status: int, message: str) -> None:
        self.closed.set_result((status, message))


@asynccontextmanager
async def serving(directory: Path, how: str = "tcp") -> AsyncIterator[tuple[Running, Echo]]:
    echo = Echo()
    server = grpc.aio.server(options=UNLIMITED)
    server.add_generic_rpc_handlers((echo,))
    where: tuple[str, int] | str
    more = HTTP2
    if how == "unix":
        where = str(directory / "s")
        server.add_insecure_port(f"unix:{where}")
    elif how == "tls":
        key, chain = (Path(f"{CERTS.path}/server.{end}").read_bytes() for end in ("key", "pem"))
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
        where = ("127.0.0.1", port)
        more = f"{HTTP2}, {TLS}"
    else:
        where = ("127.0.0.1", server.add_insecure_port("127.0.0.1:0"))
        if how == "downstream":
            more = DOWNSTREAM
    await server.start()
    try:
        async with running(bootstrap(f"{more}, connect_timeout: 2s, {endpoints(where)}")) as proxy:
            yield proxy, echo
    finally:
        await server.stop(0)


def service(**options: Any) -> GrpcService:
    options.setdefault("timeout", 10.0)
    return GrpcService("c", "service.test", **options)


@pytest.mark.parametrize("how", ["tcp", "unix", "tls", "downstream"])
async def test_a_call(tmp_path: Path, how: str) -> None:
    async with serving(tmp_path, how) as (proxy, echo):
        worker = proxy.proxy.worker
        metadata = (("x-token", "t"), ("x-raw-bin", "AAH+"))
        assert await call(worker, service(initial_metadata=metadata), "/test.Echo/Unary", b"hello") == b"hello"
        assert echo.metadata["x-token"] == "t"
        assert echo.metadata["x-raw-bin"] == b"\x00\x01\xfe"
        assert proxy.stat("upstream_cx_http2_total") == 1


async def test_a_conversation(tmp_path: Path) -> None:
    async with serving(tmp_path) as (proxy, _):
        sink = Sink()
        stream = open_stream(proxy.proxy.worker, service(timeout=None), "/test.Echo/Chat", sink)
        assert stream is not None
        for word in (b"one", b"", b"x" * 100_000):
            stream.send(word)
            assert await asyncio.wait_for(sink.messages.get(), 10) == b"you said " + word
        stream.end()
        assert await asyncio.wait_for(sink.closed, 10) == (0, "")


async def test_what_the_service_says_of_an_error(tmp_path: Path) -> None:
    async with serving(tmp_path) as (proxy, _):
        worker = proxy.proxy.worker
        with pytest.raises(GrpcError, match="no: ü 100% \n sure") as failed:
            await call(worker, service(), "/test.Echo/Fails", b"")
        assert failed.value.status == 9
        with pytest.raises(GrpcError) as missing:
            await call(worker, service(), "/test.Echo/Missing", b"")
        assert missing.value.status == 12


async def test_a_deadline_and_giving_up_end_the_call_at_the_service(tmp_path: Path) -> None:
    async with serving(tmp_path) as (proxy, echo):
        worker = proxy.proxy.worker
        with pytest.raises(GrpcError) as late:
            await call(worker, service(timeout=0.3), "/test.Echo/Slow", b"")
        assert late.value.status == 4
        await asyncio.wait_for(echo.cancelled.wait(), 20)
        echo.cancelled.clear()
        sink = Sink()
        stream = open_stream(worker, service(timeout=None), "/test.Echo/Slow", sink)
        assert stream is not None
        stream.send(b"")
        stream.end()
        await asyncio.sleep(0.3)
        stream.reset()
        await asyncio.wait_for(echo.cancelled.wait(), 20)
        assert not sink.closed.done()
        assert proxy.stat("upstream_rq_active") == 0


async def test_messages_of_any_size_and_a_limit(tmp_path: Path) -> None:
    async with serving(tmp_path) as (proxy, _):
        worker = proxy.proxy.worker
        large = bytes(20 * MEBIBYTE)
        assert await call(worker, service(timeout=60.0), "/test.Echo/Unary", large) == large
        with pytest.raises(GrpcError) as refused:
            await call(worker, service(max_message=1000), "/test.Echo/Unary", bytes(1001))
        assert refused.value.status == 13
        assert await call(worker, service(max_message=1000), "/test.Echo/Unary", bytes(1000)) == bytes(1000)


async def test_a_service_that_is_not_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as (proxy, _):
        worker = proxy.proxy.worker
        with pytest.raises(GrpcError) as unknown:
            await call(worker, GrpcService("other", "x", timeout=1.0), "/test.Echo/Unary", b"")
        assert unknown.value.status == 14
