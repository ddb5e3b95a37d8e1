"""WebSocket with clients and hosts of others, over HTTP/1 and HTTP/2 in all four combinations."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .program import Program, running
from .websocket_peers import ABNORMAL, CLIENTS, CLOSE_CODE, HOSTS, Http2Socket, Orders, Record, Socket

pytestmark = pytest.mark.asyncio

UPGRADES = "http2_protocol_options: {allow_connect: true}\n          upgrade_configs: [{upgrade_type: websocket}]"
IDLE = "\n          stream_idle_timeout: 1s"
HTTP2 = """    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {allow_connect: true}}
"""
LARGE = 400_000


@contextlib.asynccontextmanager
async def proxied(directory: Path, host: str, options: str = UPGRADES) -> AsyncIterator[tuple[Program, Record]]:
    record = Record()
    async with (
        HOSTS[host](record) as port,
        running(directory, port, options=options, extra=HTTP2 if host == "http2" else "") as program,
    ):
        yield program, record


async def converse(socket: Socket) -> None:
    for message in ("text", "", "ü€\U0001f600", b"\0\xff binary", b"", "x" * LARGE, b"y" * LARGE):
        await socket.send(message)
        assert await socket.receive() == message
    await socket.send(["in ", "three ", "frames"])
    assert await socket.receive() == "in three frames"
    await socket.ping()
    await socket.send(Orders.PING)
    assert await socket.receive() == "ponged"
    sending = asyncio.gather(*(socket.send(str(number)) for number in range(300)))
    assert [await socket.receive() for _ in range(300)] == [str(number) for number in range(300)]
    await sending


async def many_at_once(program: Program) -> None:
    """Clients share a connection to the host if that speaks HTTP/2: one that doesn't read mustn't stop the others."""
    async with contextlib.AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(CLIENTS[client](program.port)) for client in CLIENTS for _ in range(20)
        ]
        slow = await stack.enter_async_context(CLIENTS["http2"](program.port))
        assert isinstance(slow, Http2Socket)
        slow.client.reads = False
        sending = asyncio.create_task(slow.send(b"z" * 10_000_000))

        async def talk(socket: Socket, number: int) -> None:
            for turn in range(20):
                message = f"{number} {turn} " * 50
                await socket.send(message)
                assert await socket.receive() == message

        await asyncio.wait_for(asyncio.gather(*map(talk, sockets, range(len(sockets)))), 20)
        sending.cancel()
        assert program.resident() < 200_000_000


@pytest.mark.parametrize("host", HOSTS)
async def test_messages_and_ends(tmp_path: Path, host: str) -> None:
    async with proxied(tmp_path, host) as (program, record):
        for number, client in enumerate(CLIENTS):
            async with CLIENTS[client](program.port) as socket:
                await asyncio.wait_for(converse(socket), 30)
                await socket.close(4000, "done")
                assert await record.code(3 * number) == 4000
                if isinstance(socket, Http2Socket):  # the connection goes on
                    assert (await socket.client.get("/direct")).status == 200
            async with CLIENTS[client](program.port) as socket:
                await socket.send(Orders.CLOSE)
                assert await socket.ended() == CLOSE_CODE
                assert await record.code(3 * number + 1) == CLOSE_CODE
            async with CLIENTS[client](program.port) as socket:
                await socket.send("x")
                await socket.receive()
                await socket.leave()
                assert await record.code(3 * number + 2) == ABNORMAL
        for fields in record.heads:
            assert fields.get("host", fields.get(":authority")) in (f"127.0.0.1:{program.port}", "server.test")
            assert "transfer-encoding" not in fields
            assert "content-length" not in fields
        assert await program.statistic("http.test.downstream_cx_upgrades_total") == 6
        async with asyncio.timeout(5):
            while await program.statistic("http.test.downstream_cx_upgrades_active"):
                await asyncio.sleep(0.02)
        await many_at_once(program)


@pytest.mark.parametrize("host", HOSTS)
async def test_a_host_that_leaves_and_silence(tmp_path: Path, host: str) -> None:
    async with proxied(tmp_path, host, UPGRADES + IDLE) as (program, _):
        for client in CLIENTS:
            async with CLIENTS[client](program.port) as socket:
                await socket.send(Orders.LEAVE)
                assert await socket.ended() == ABNORMAL

        async def silent(client: str) -> None:
            async with CLIENTS[client](program.port) as socket:
                for _ in range(3):  # what is said in time keeps it
                    await asyncio.sleep(0.4)
                    await socket.ping()
                assert await asyncio.wait_for(socket.ended(), 5) == ABNORMAL

        await asyncio.gather(*map(silent, CLIENTS))


async def test_the_end_of_the_program_gives_tunnels_their_time(tmp_path: Path) -> None:
    """They go on as long as the drain lasts, and don't keep the program any longer."""
    async with (
        HOSTS["http1"](Record()) as port,
        running(tmp_path, port, "--drain-time-s", "2", options=UPGRADES) as program,
        contextlib.AsyncExitStack() as stack,
    ):
        sockets = [await stack.enter_async_context(client(program.port)) for client in CLIENTS.values()]
        program.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            while await refuses(program.port) is False:
                await asyncio.sleep(0.02)
        for socket in sockets:
            await socket.send("still here")
            assert await socket.receive() == "still here"
        assert [await asyncio.wait_for(socket.ended(), 8) for socket in sockets] == [ABNORMAL] * len(sockets)
        assert await program.exit_code(8) == 0


async def refuses(port: int) -> bool:
    """Whether nobody listens any more."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    writer.close()
    return False
