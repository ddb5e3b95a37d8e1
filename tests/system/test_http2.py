"""HTTP/2 to clients with real sockets: other people's clients, TLS, back-pressure stream by stream, and the end."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.certificates import folder

from .h2_client import Exchange, H2Client
from .program import Program, Upstream, running

CERTS = folder()
WEBSOCKET = "http2_protocol_options: {allow_connect: true}\n          upgrade_configs: [{upgrade_type: websocket}]"
TLS = f"""transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: {{filename: {CERTS.path}/server.pem}}
              private_key: {{filename: {CERTS.path}/server.key}}
      """
SMALL = "http2_protocol_options: {initial_stream_window_size: 65535, initial_connection_window_size: 1048576}"


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """An upstream of the test's own; gives its port."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def tool(*command: str) -> tuple[int, bytes]:
    """Run a client of somebody else's; its exit code and what it printed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} isn't installed")
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, output


async def idle(program: Program) -> bool:
    """Whether nothing of any request is left."""
    names = ("http.test.downstream_rq_active", "http2.streams_active", "http2.pending_send_bytes")
    return [await program.statistic(name) for name in names] == [0, 0, 0]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with its own body."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.lower()
            body = b""
            if b"transfer-encoding: chunked" in lines:
                while size := int(await reader.readline(), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readline()
            elif b"content-length: " in lines:
                body = await reader.readexactly(int(lines.partition(b"content-length: ")[2].split()[0]))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def test_curl_sends_and_gets_a_large_body(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(hashlib.sha512(b"x").digest() * 100_000)
    async with listening(echo) as port, running(tmp_path, port) as program:
        url = f"http://127.0.0.1:{program.port}/"
        code, output = await tool("curl", "-s", "--http2-prior-knowledge", "--data-binary", f"@{data}", url)
        assert code == 0
        assert output == data.read_bytes()
        assert await idle(program)


async def test_h2load_has_every_request_answered(tmp_path: Path) -> None:
    async with Upstream() as upstream, running(tmp_path, upstream.port) as program:
        url = f"http://127.0.0.1:{program.port}/"
        _, output = await tool("h2load", "-n2000", "-c5", "-m20", url)
        assert b"2000 succeeded, 0 failed, 0 errored" in output
        assert upstream.requests == 2000
        assert await program.statistic("http.test.downstream_rq_http2_total") == 2000
        assert await idle(program)


async def test_one_connection_carries_many_streams(tmp_path: Path) -> None:
    async with Upstream(delay=0.5) as upstream, running(tmp_path, upstream.port) as program:
        client = await H2Client.open(program.port)
        began = asyncio.get_running_loop().time()
        sids = [client.start("/") for _ in range(100)]
        answers = [await client.answer(sid) for sid in sids]
        assert [answer.status for answer in answers] == [200] * 100
        assert asyncio.get_running_loop().time() - began < 5
        await client.close()


@pytest.mark.parametrize(("offered", "version"), [("h2", 2), ("http/1.1", 1)])
async def test_tls_negotiates_the_protocol(tmp_path: Path, offered: str, version: int) -> None:
    async with Upstream() as upstream, running(tmp_path, upstream.port, chain=TLS) as program:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([offered])
        if version == 2:
            client = await H2Client.open(program.port, context)
            answer = await client.get("/direct")
            assert (answer.status, bytes(answer.body)) == (200, b"direct")
            await client.close()
        else:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", program.port, ssl=context, server_hostname="server.test"
            )
            writer.write(b"GET /direct HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
        assert await program.statistic(f"http.test.downstream_cx_http{version}_total") == 1


async def test_a_client_that_reads_slowly_stops_the_upstream_and_nobody_else(tmp_path: Path) -> None:
    written = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        head = await reader.readuntil(b"\r\n\r\n")
        if b"GET /large" not in head:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nsmall")
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n")
        for _ in range(500):
            writer.write(b"x" * 100_000)
            await writer.drain()
            written += 100_000
        writer.close()

    async with listening(serve) as port, running(tmp_path, port) as program:
        client = await H2Client.open(program.port)
        client.reads = False
        large = client.start("/large")
        await client.until(lambda: len(client.streams[large].body) == 65535)
        before = -1
        while before != written:
            before = written
            await asyncio.sleep(0.5)
        assert written < 20_000_000, "what the client doesn't read, nobody reads"
        assert program.resident() < 200_000_000
        client.wire.increment_flow_control_window(100_000)
        client.flush()
        small = await client.get("/small")
        assert (small.status, bytes(small.body)) == (200, b"small")
        client.reads = True
        client.give_back(large, 65535)
        answer = await client.answer(large, 30)
        assert len(answer.body) == 50_000_000
        assert answer.ended
        await client.close()
        assert await idle(program)


async def test_an_upstream_that_reads_slowly_stops_its_stream_and_no_other(tmp_path: Path) -> None:
    read_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"POST /large" in head:
            await read_on.wait()
            left = 30_000_000
            while left:
                left -= len(await reader.read(min(left, 1 << 20)))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        writer.close()

    async with listening(serve) as port, running(tmp_path, port, options=SMALL) as program:
        client = await H2Client.open(program.port)
        large = client.start("/large", [("content-length", "30000000")], method="POST", end=False)
        sending = asyncio.create_task(client.send(large, b"y" * 30_000_000))
        await asyncio.sleep(1.5)
        assert not sending.done()
        assert client.wire.local_flow_control_window(large) == 0
        assert (await client.get("/small")).status == 200
        assert program.resident() < 200_000_000
        read_on.set()
        await sending
        assert (await client.answer(large, 30)).status == 200
        await client.close()
        assert await idle(program)


async def test_a_websocket_over_http2_reaches_an_http1_server(tmp_path: Path) -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async with listening(serve) as port, running(tmp_path, port, options=WEBSOCKET) as program:
        client = await H2Client.open(program.port)
        assert client.wire.remote_settings.enable_connect_protocol
        fields = [(":protocol", "websocket"), ("sec-websocket-version", "13")]
        sid = client.wire.get_next_available_stream_id()
        pseudo = [(":method", "CONNECT"), (":scheme", "http"), (":authority", "server.test"), (":path", "/chat")]
        client.streams[sid] = stream = Exchange()
        client.wire.send_headers(sid, [*pseudo, *fields])
        client.flush()
        await client.until(lambda: bool(stream.headers))
        assert stream.status == 200
        message = b"\x82\x7e" + (60_000).to_bytes(2, "big") + b"z" * 60_000
        for _ in range(20):
            await client.send(sid, message, end=False)
        await client.until(lambda: len(stream.body) == 20 * len(message))
        assert bytes(stream.body) == message * 20
        assert heads[0].startswith(b"GET /chat HTTP/1.1\r\n")
        assert b"\r\nupgrade: websocket\r\n" in heads[0]
        assert b"transfer-encoding" not in heads[0]
        assert b":protocol" not in heads[0]
        client.wire.reset_stream(sid)
        client.flush()
        assert (await client.get("/direct")).status == 200
        await client.close()
        await asyncio.sleep(0.1)  # for the upstream to hear of it


async def test_the_end_of_the_program_loses_no_stream(tmp_path: Path) -> None:
    async with Upstream(delay=1.0) as upstream, running(tmp_path, upstream.port) as program:
        client = await H2Client.open(program.port)
        sids = [client.start("/") for _ in range(20)]
        quiet = await H2Client.open(program.port)
        await quiet.get("/direct")
        while upstream.requests < 20:
            await asyncio.sleep(0.01)
        await asyncio.sleep(1.0 - 0.2)
        program.send_signal(signal.SIGTERM)
        assert [(await client.answer(sid)).status for sid in sids] == [200] * 20
        assert client.goaways
        assert client.goaways[0][1] == 0
        await quiet.until(lambda: bool(quiet.goaways), 3)
        assert await program.exit_code(8) == 0
        await client.close()
        await quiet.close()
