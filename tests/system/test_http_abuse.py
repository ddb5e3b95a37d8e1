"""What nobody should do to a proxy, done by clients, upstreams and filters: it stays theirs, and nothing is left."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from ..parity.wire import WireReader
from .abuse_rig import Rig, abused

_CASES = re.findall(r'case "([^"]+)"', (Path(__file__).parent / "abuse_filters" / "abuse.py").read_text())
_NO_ANSWER = {"hang-head", "swallow-cancel", "hang-body", "hang-response", "hang-response-body", "reset-and-go-on"}
_NO_ANSWER |= {"reset-in-response"}


async def test_what_a_filter_does_stays_its_streams(tmp_path: Path) -> None:
    assert len(_CASES) > 70
    async with abused(tmp_path) as rig:
        wrong = {}
        for how in _CASES:
            complaints = [*await _abuse(rig, how, b""), *await _abuse(rig, how, b"hello")]
            if complaints:
                wrong[how] = complaints
        assert not wrong
        await rig.settled()
        assert "Fatal error" not in rig.program.output()


async def _abuse(rig: Rig, how: str, body: bytes) -> list[str]:
    """The filter does its worst to one request; what follows on the connection, and other clients, must not suffer."""
    seen = len(rig.upstream.requests)
    head = f"{'POST' if body else 'GET'} /x HTTP/1.1\r\nhost: h\r\nx-abuse: {how}\r\n"
    framed = f"content-length: {len(body)}\r\n\r\n" if body else "\r\n"
    follower = b"GET /second HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
    hangs = how in _NO_ANSWER
    answer = await rig.send((head + framed).encode() + body + follower, seconds=0.1 if hangs else 2.0)
    reader = WireReader("response")
    reader.feed(answer)
    found = [f"client: {odd}" for odd in reader.anomalies] + [f"upstream: {odd}" for odd in rig.upstream.anomalies]
    rig.upstream.anomalies.clear()
    if not hangs and not reader.messages:
        found.append("no answer")
    found += [f"cut but not at the end: {m.start}" for m in reader.messages[:-1] if not m.complete]
    paths = [start.split(" ")[1] for start, _ in rig.upstream.requests[seen:]]
    if paths not in ([], ["/x"], ["/second"], ["/x", "/second"], ["None"], ["None", "/second"]):
        found.append(f"upstream: {paths}")
    await rig.plain()
    return found


_INNER = b"GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n"
_UPGRADE = b" /x HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST" + _UPGRADE + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(_INNER), _INNER),
        b"POST" + _UPGRADE + b"content-length: %d\r\n\r\n" % len(_INNER) + _INNER,
        b"POST" + _UPGRADE + b"\r\n" + _INNER,
        b"GET" + _UPGRADE + b"\r\n" + _INNER,
        b"GET" + _UPGRADE + b"content-length: 3\r\n\r\nabc" + _INNER,
    ],
)
async def test_the_body_of_a_request_for_an_upgrade_is_no_second_request(tmp_path: Path, request_bytes: bytes) -> None:
    async with abused(tmp_path) as rig:
        await rig.send(request_bytes, seconds=0.3)
        assert [start for start, _ in rig.upstream.requests if "/smuggled" in start] == []
        assert rig.upstream.anomalies == []
        await rig.plain()
        await rig.settled()


async def test_an_upgrade_after_a_request_with_a_body(tmp_path: Path) -> None:
    async with abused(tmp_path) as rig:
        for framed in (b"content-length: 3\r\n\r\nabc", b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.program.port)
            writer.write(b"POST" + _UPGRADE.replace(b"/x", b"/ws") + framed)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
            assert head.startswith(b"HTTP/1.1 101")
            writer.write(b"through the tunnel")
            assert await asyncio.wait_for(reader.readexactly(18), 2) == b"through the tunnel"
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
