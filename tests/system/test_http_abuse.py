"""What nobody should do to a proxy, done by clients, upstreams and filters: it stays theirs, and nothing is left."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.streams import read_on, stop_reading

from ..parity.wire import WireReader
from .abuse_rig import Rig, abused

_CASES = re.findall(r'case "([^"]+)"', (Path(__file__).parent / "abuse_filters" / "abuse.py").read_text())
_NO_ANSWER = {"hang-head", "swallow-cancel", "hang-body", "hang-response", "hang-response-body", "reset-and-go-on"}
_NO_ANSWER |= {"reset-in-response"}


async def test_what_a_filter_does_stays_its_streams(tmp_path: Path) -> None:
    assert len(_CASES) > 70
    async with abused(tmp_path) as rig:
        for start in range(0, len(_CASES), 8):
            cases = [(how, body) for how in _CASES[start : start + 8] for body in (b"", b"hello")]
            complaints = await asyncio.gather(*(_abuse(rig, how, body) for how, body in cases))
            assert not any(complaints), list(zip(cases, complaints, strict=True))
            assert rig.upstream.anomalies == [], cases
        await rig.settled()
        assert "Fatal error" not in rig.program.output()


async def _abuse(rig: Rig, how: str, body: bytes) -> list[str]:
    """The filter does its worst to one request; what follows on the connection, and other clients, must not suffer."""
    path = f"/{how}-{len(body)}"
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nhost: h\r\nx-abuse: {how}\r\n"
    framed = f"content-length: {len(body)}\r\n\r\n" if body else "\r\n"
    follower = f"GET {path}/next HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".encode()
    hangs = how in _NO_ANSWER
    answer = await rig.send((head + framed).encode() + body + follower, seconds=0.1 if hangs else 10.0)
    reader = WireReader("response")
    reader.feed(answer)
    found = [f"client: {odd}" for odd in reader.anomalies]
    if not hangs and not reader.messages:
        found.append("no answer")
    found += [f"cut but not at the end: {m.start}" for m in reader.messages[:-1] if not m.complete]
    paths = [start.split(" ")[1] for start, _ in rig.upstream.requests if start.split(" ")[1].startswith(path)]
    if paths not in ([], [path], [f"{path}/next"], [path, f"{path}/next"]):
        found.append(f"upstream: {paths}")
    await rig.plain()
    return found


async def test_a_filter_that_blocks_the_loop_is_named_and_in_the_end_not_suffered(tmp_path: Path) -> None:
    watchdogs = {"worker_watchdog": {"miss_timeout": "0.1s", "megamiss_timeout": "0.2s", "kill_timeout": "3s"}}
    async with abused(tmp_path, bootstrap={"watchdogs": watchdogs}) as rig:
        blocking = b"GET /x HTTP/1.1\r\nhost: h\r\nx-block-seconds: %b\r\n\r\n"
        assert (await rig.send(blocking % b"0.5", b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        names = "workers", "main_thread", "server.worker_0", "server.main_thread"
        assert min([await rig.program.statistic(f"{name}.watchdog_miss") for name in names]) > 0
        assert await rig.program.statistic("workers.watchdog_mega_miss") > 0
        line = next(line for line in rig.program.output().splitlines() if "blocks the event loop" in line)
        assert "filter=abuse hook=Abuse.on_request_headers thread=worker_0" in line
        assert "abuse.py" in line
        assert "the event loop goes on" in rig.program.output()
        await rig.send(blocking % b"30", seconds=10)
        assert await rig.program.exit_code() == -signal.SIGABRT
        assert "longer than kill_timeout" in rig.program.output()


_INNER = b"GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n"
_UPGRADE = b" /x HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n"


async def test_the_body_of_a_request_for_an_upgrade_is_no_second_request(tmp_path: Path) -> None:
    async with abused(tmp_path) as rig:
        for request in (
            b"POST" + _UPGRADE + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(_INNER), _INNER),
            b"POST" + _UPGRADE + b"content-length: %d\r\n\r\n" % len(_INNER) + _INNER,
            b"POST" + _UPGRADE + b"\r\n" + _INNER,
            b"GET" + _UPGRADE + b"\r\n" + _INNER,
            b"GET" + _UPGRADE + b"content-length: 3\r\n\r\nabc" + _INNER,
        ):
            await rig.send(request, seconds=0.2)
            assert [start for start, _ in rig.upstream.requests if "/smuggled" in start] == [], request
            assert rig.upstream.anomalies == []
        await rig.plain()
        await rig.settled()


async def test_an_upgrade_after_a_request_with_a_body(tmp_path: Path) -> None:
    async with abused(tmp_path) as rig:
        for framed in (b"content-length: 3\r\n\r\nabc", b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.program.port)
            writer.write(b"POST" + _UPGRADE.replace(b"/x", b"/ws") + framed)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            assert head.startswith(b"HTTP/1.1 101")
            writer.write(b"through the tunnel")
            assert await asyncio.wait_for(reader.readexactly(18), 20) == b"through the tunnel"
            assert rig.upstream.requests.pop() == ("POST /ws HTTP/1.1", 3)
            writer.transport.abort()
        await rig.settled()


async def test_a_client_that_leaves_is_noticed_while_a_filter_waits(tmp_path: Path) -> None:
    async with abused(tmp_path) as rig:
        for how in ("hang-head", "hang-body", "hang-response", "hang-response-body"):
            for body in (b"", b"hello"):
                framed = b"content-length: %d\r\n\r\n" % len(body)
                await rig.send(
                    b"POST /x HTTP/1.1\r\nhost: h\r\nx-abuse: " + how.encode() + b"\r\n" + framed + body, seconds=0.1
                )
        await rig.settled(1.0)


async def test_proxy_connection_close_closes(tmp_path: Path) -> None:
    async with abused(tmp_path) as rig:
        request = b"GET /ok HTTP/1.1\r\nhost: h\r\nproxy-connection: close\r\n\r\n"
        answer = await rig.send(request + request)
        assert answer.count(b"HTTP/1.1 200 OK") == 1
        assert b"connection: close" in answer


async def test_what_never_became_a_request_is_answered_through_the_response_hooks(tmp_path: Path) -> None:
    bad = {
        b"BAD\r\n\r\n": b"400",
        b"GET /#x HTTP/1.1\r\nhost: h\r\n\r\n": b"400",
        b"GET / HTTP/1.1\r\n\r\n": b"400",
        b"OPTIONS * HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n": b"404",
        b"GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n": b"403",
        b"GET / HTTP/1.1\r\nho": b"408",
        b"GET /ok HTTP/1.1\r\nhost: h\r\n\r\nGET / HTTP/1.1\r\nho": b"408",
    }
    async with abused(tmp_path, request_headers_timeout="0.3s") as rig:
        for request, status in bad.items():
            assert b"HTTP/1.1 " + status in await rig.send(request), request
        await rig.settled()
        assert rig.complaints() == []


@pytest.mark.parametrize(("path", "count"), [("direct", 8000), ("big-60000", 500)])
async def test_a_client_that_reads_no_answer_gets_no_more_of_them(tmp_path: Path, path: str, count: int) -> None:
    async with abused(tmp_path) as rig:
        before = rig.program.resident()
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.program.port, limit=1024)
        stop_reading(writer)
        writer.write(f"GET /{path} HTTP/1.1\r\nhost: h\r\n\r\n".encode() * count)
        await asyncio.sleep(1.0)
        assert rig.program.resident() - before < 12_000_000
        await rig.plain()
        read_on(writer)
        answers = 0
        async with asyncio.timeout(15):
            while answers < count:
                answers += (await reader.read(1 << 20)).count(b"server: envoy")
        writer.transport.abort()
        await rig.settled()


async def test_a_response_that_nobody_reads_does_not_keep_a_closing_connection(tmp_path: Path) -> None:
    async with abused(tmp_path) as rig:
        clients = []
        loop = asyncio.get_running_loop()
        for size in range(2_000_000, 3_600_000, 200_000):  # in some of them the last bytes are the proxy's to keep
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", rig.program.port))
            await loop.sock_sendall(client, b"GET /big-%d HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n" % size)
            clients.append(client)
        await asyncio.sleep(1.2)
        active = await rig.program.statistic("http.test.downstream_rq_active")
        assert await rig.program.statistic("http.test.downstream_cx_active") == active < len(clients)
        for client in clients:
            client.close()
        await rig.settled()


async def test_a_retry_never_sends_half_a_body(tmp_path: Path) -> None:
    async with abused(tmp_path) as rig:
        rig.upstream.fails, rig.upstream.fails_early = 1, True
        for framing in (b"content-length: 1500000", b"transfer-encoding: chunked"):
            rig.upstream.fails = 1
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.program.port)
            writer.write(b"POST /retry-slow/x HTTP/1.1\r\nhost: h\r\n" + framing + b"\r\n\r\n")
            for _ in range(15):
                piece = b"x" * 100_000
                writer.write(piece if framing.startswith(b"content") else b"186a0\r\n" + piece + b"\r\n")
                await asyncio.sleep(0.01)
            answer = await asyncio.wait_for(reader.read(100), 20)
            assert answer.startswith(b"HTTP/1.1 507")
            writer.transport.abort()
        assert rig.upstream.requests == []
        assert rig.upstream.anomalies == []
        await rig.settled()


async def test_a_retry_reads_on_where_the_attempt_before_had_stopped_reading(tmp_path: Path) -> None:
    async with abused(tmp_path) as rig:
        body = b"x" * 300_000
        for _ in range(2):  # one of them meets the host that never answers first
            request = b"POST /retry-mixed/x HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % len(body)
            answer = await rig.send(request + body, b"plain", seconds=4)
            assert answer.startswith(b"HTTP/1.1 200")
        assert rig.upstream.requests == [("POST /retry-mixed/x HTTP/1.1", len(body))] * 2
        assert await rig.program.statistic("cluster.mixed.upstream_rq_retry") >= 1
        await rig.settled()


_MOMENTS = {
    "before the head": b"",
    "in the head": b"POST /%s HTTP/1.1\r\nho",
    "after the head": b"POST /%s HTTP/1.1\r\nhost: h\r\ncontent-length: 20000\r\n\r\n",
    "in the body": b"POST /%s HTTP/1.1\r\nhost: h\r\ncontent-length: 20000\r\n\r\n" + b"b" * 5000,
    "in a chunk": b"POST /%s HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
    "after the request": b"GET /%s HTTP/1.1\r\nhost: h\r\n\r\n",
    "behind it": b"GET /%s HTTP/1.1\r\nhost: h\r\n\r\n" * 3 + b"GET /",
    "after a mistake": b"GET /%s HTTP/1.1\r\nhost: h\r\nbad header\r\n\r\n",
    "in a tunnel": b"GET /%s HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nraw",
}
_ANSWERS = (
    "ok", "big-3000000", "slow-5", "late-5", "leave-now", "leave-head", "leave-body", "leave-chunk", "leave-after",
    "204", "304", "1xx-20", "1xx-500", "ws", "early", "refused/x", "unanswered/x", "timed/late-5",
    "retry/leave-now", "small/big-500000",
)  # fmt: skip


async def test_whoever_leaves_whenever_leaves_nothing_behind(tmp_path: Path) -> None:
    async with abused(tmp_path) as rig:
        await rig.plain()
        descriptors = rig.descriptors()
        for _ in range(2):
            visits = [
                rig.send(request.replace(b"%s", answer.encode()), seconds=seconds)
                for request in _MOMENTS.values()
                for answer in _ANSWERS
                for seconds in (0.005, 0.15)
            ]
            for start in range(0, len(visits), 60):
                await asyncio.gather(*visits[start : start + 60])
            await rig.plain()
        await rig.settled(8.0)
        assert rig.descriptors() <= descriptors + 40  # connections to the upstream may be kept
        assert rig.upstream.anomalies == []
        assert rig.complaints() == []


async def test_a_thousand_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async with abused(tmp_path) as rig:
        paths = [f"/{number}/{('ok', '204', '304', 'nothing')[number % 4]}" for number in range(1000)]
        requests = "".join(
            f"{'HEAD' if n % 7 == 3 else 'GET'} {p} HTTP/1.1\r\nhost: h\r\n\r\n" for n, p in enumerate(paths)
        )
        last = b"GET /direct HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
        answer = await rig.send(requests.encode() + last, seconds=10)
        methods = ["HEAD" if number % 7 == 3 else "GET" for number in range(1000)]
        reader = WireReader("response", lambda n: methods[n] if n < len(methods) else "GET")
        reader.feed(answer)
        assert reader.anomalies == []
        wanted = [{1: 204, 2: 304}.get(number % 4, 200) for number in range(1000)] + [200]
        # An answer with content where none may be costs its upstream connection, not the client's.
        assert [message.status for message in reader.messages] == wanted
        assert [start.split(" ")[1] for start, _ in rig.upstream.requests] == paths
        await rig.settled()


async def test_slow_readers_of_much_cost_little(tmp_path: Path) -> None:
    async with abused(tmp_path) as rig:
        before = rig.program.resident()
        readers = []
        for how in ("", "", "async-response-body", "async-response-body"):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.program.port, limit=1024)
            stop_reading(writer)
            writer.write(b"GET /big-20000000 HTTP/1.1\r\nhost: h\r\nx-abuse: " + how.encode() + b"\r\n\r\n")
            readers.append((reader, writer))
        await asyncio.sleep(1.5)
        assert rig.program.resident() - before < 25_000_000
        for reader, writer in readers:
            read_on(writer)
            async with asyncio.timeout(10):
                await reader.readuntil(b"\r\n\r\n")
                left = 20_000_000
                while left:
                    left -= len(await reader.read(1 << 20))
            writer.transport.abort()
        await rig.settled()


async def test_slow_writers_and_small_buffers(tmp_path: Path) -> None:
    async with abused(tmp_path, listener={"per_connection_buffer_limit_bytes": 4096}, buffered=True) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.program.port)
        for byte in b"POST /ok HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello":
            writer.write(bytes([byte]))
            await asyncio.sleep(0.001)
        assert (await asyncio.wait_for(reader.readuntil(b"plain"), 20)).startswith(b"HTTP/1.1 200")
        writer.transport.abort()
        for framing in (b"content-length: 9000", b"transfer-encoding: chunked"):
            body = b"x" * 9000 if b"length" in framing else b"2328\r\n" + b"x" * 9000 + b"\r\n0\r\n\r\n"
            answer = await rig.send(b"POST /ok HTTP/1.1\r\nhost: h\r\n" + framing + b"\r\n\r\n" + body, b"Too Large")
            assert answer.startswith(b"HTTP/1.1 413")
        answer = await rig.send(b"GET /small/big-2000000 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", seconds=5)
        assert len(answer.partition(b"\r\n\r\n")[2]) == 2_000_000
        assert [start for start, _ in rig.upstream.requests] == ["POST /ok HTTP/1.1", "GET /small/big-2000000 HTTP/1.1"]
        await rig.settled()
        assert rig.complaints() == []
