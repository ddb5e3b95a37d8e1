"""Three servers for the same frames: the codec alone, the whole program, and Envoy; and one judge for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from meshproxy.codec.h2_server import Http2ServerCodec
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http2Options

from ..parity.subject import Subject
from ..ports import PortBlock
from .h2_cases import Case, Expect
from .h2_wire import MARK, PREFACE, Seen, ping, settings

BODY = b"ok"
SECONDS = 3.0
AT_ONCE = 16
HEAVY = 65_536


def bytes_of(case: Case) -> bytes:
    """What the client sends: unless the case is about it, the preface first; and a PING last."""
    if not case.handshake:
        return case.send
    return PREFACE + settings() + case.send + ping()


class Answers:
    """A sink that answers each complete request with `BODY`."""

    codec: Http2ServerCodec

    def __init__(self) -> None:
        self.heads: set[int] = set()
        self.error: ProtocolError | None = None

    def on_stream_request(self, sid: int, request: RequestHeaders, end: bool) -> None:
        if request.method == "HEAD":
            self.heads.add(sid)
        if end:
            self._answer(sid)

    def on_stream_data(self, sid: int, data: bytes, end: bool) -> None:
        self.codec.consumed(sid, len(data))
        if end:
            self._answer(sid)

    def on_stream_trailers(self, sid: int, trailers: Headers) -> None:
        self._answer(sid)

    def _answer(self, sid: int) -> None:
        head = sid in self.heads
        self.codec.send_response(sid, ResponseHeaders(200, [("content-length", str(len(BODY)))]), head)
        if not head:
            self.codec.send_data(sid, BODY, True)

    def on_connection_error(self, error: ProtocolError) -> None:
        assert self.error is None, "two ends of a connection"
        self.error = error

    def on_output(self) -> None: ...

    def on_stream_reset(self, sid: int, code: int) -> None: ...

    def on_stream_error(self, sid: int, error: ProtocolError) -> None: ...

    def on_stream_blocked(self, sid: int, blocked: bool) -> None: ...

    def on_goaway(self, last_sid: int, code: int) -> None: ...

    def on_settings(self) -> None: ...

    def on_ping_ack(self, payload: bytes) -> None: ...

    def on_count(self, name: str) -> None: ...


def new_codec(options: Http2Options | None = None) -> tuple[Http2ServerCodec, Answers]:
    sink = Answers()
    sink.codec = Http2ServerCodec(sink, options or Http2Options(), lambda: 1.0)
    return sink.codec, sink


def run_codec(case: Case, pieces: int = 0) -> Seen:
    """The case against the codec alone. pieces: how many bytes at a time; 0: all at once."""
    codec, sink = new_codec()
    seen = Seen()
    sent = bytes_of(case)
    for start in range(0, len(sent), pieces or len(sent)):
        codec.receive(sent[start : start + (pieces or len(sent))])
        seen.feed(codec.take())
        while codec.unfinished:
            codec.resume()
            seen.feed(codec.take())
    seen.closed = sink.error is not None
    return seen


def judge(expect: Expect, seen: Seen) -> str:
    """What is wrong with what was seen; "" if nothing."""
    if satisfied(expect, seen):
        return ""
    return f"expected {expect}\nseen {seen.text()}"


def satisfied(expect: Expect, seen: Seen) -> bool:
    """Is the expectation fulfilled by what was seen so far?"""
    level, sid = expect.level, expect.sid
    alive = MARK in seen.pongs and not seen.closed and not seen.goaways
    codes = {code for _, code in seen.goaways}
    closed = seen.closed and (not expect.codes or codes <= set(expect.codes))
    reset = sid in seen.resets and (not expect.codes or seen.resets[sid] in expect.codes)
    statuses = seen.statuses.get(sid, [])
    if level == "alive":
        return alive
    if level == "connection":
        return closed
    if level == "connection-or-alive":
        return closed or alive
    if level == "stream":
        return closed or (reset and MARK in seen.pongs)
    if level == "stream-or-alive":
        return closed or alive
    if level == "refused":
        final = statuses[-1] if statuses else ""
        return not final.startswith("2") and (seen.closed or sid in seen.resets or final.startswith("4"))
    if level == "answer-any":
        return bool(statuses) and sid in seen.ended
    assert level == "answer"
    body = seen.bodies.get(sid, 0)
    answered = bool(statuses) and statuses[-1] == expect.status
    if expect.body is not None:
        return answered and body == expect.body
    return answered and not seen.closed and (sid in seen.ended or body > 0)


async def _answer_http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream that reads whole requests and answers each."""
    with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"transfer-encoding: chunked" in head:
                while (size := int(await reader.readline(), 16)) > 0:
                    await reader.readexactly(size + 2)
                while (await reader.readline()).strip():
                    pass
            elif b"content-length: " in head:
                await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            body = b"" if head.startswith(b"head ") else BODY
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + body)
    writer.close()


def _bootstrap(port: int, admin: int, upstream: int, options: str) -> str:
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
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: test
          codec_type: HTTP2
          delayed_close_timeout: 0.1s
          {options}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /direct/large}}
                direct_response: {{status: 200, body: {{inline_string: "{"x" * 4000}"}}}}
              - match: {{prefix: /direct}}
                direct_response: {{status: 200, body: {{inline_string: ok}}}}
              - match: {{prefix: /}}
                route: {{cluster: up, timeout: 0s}}
          http_filters:
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: up
    connect_timeout: 5s
    circuit_breakers: {{thresholds: [{{max_requests: 100000, max_connections: 100000, max_pending_requests: 100000}}]}}
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""


@contextlib.asynccontextmanager
async def serving(program: str, options: str = "") -> AsyncIterator[tuple[int, Subject]]:
    """`program` ("meshproxy" or "envoy") with one HTTP/2 listener before an HTTP/1 upstream; its port."""
    ports = PortBlock()
    with tempfile.TemporaryDirectory() as name:
        server = await asyncio.start_server(_answer_http1, "127.0.0.1", 0, backlog=512)
        port, admin = ports.take(), ports.take()
        config = Path(name, "bootstrap.yaml")
        config.write_text(_bootstrap(port, admin, server.sockets[0].getsockname()[1], options))
        subject = Subject(program, Path(name), admin)
        try:
            await subject.start(config)
            yield port, subject
        finally:
            await subject.stop()
            server.close()
            ports.release()


async def run_case(port: int, case: Case) -> Seen:
    """The case against whoever listens on `port`."""
    seen = Seen()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(bytes_of(case))
            async with asyncio.timeout(SECONDS):
                while not seen.closed and not _finished(case.expect, seen):
                    received = await reader.read(65536)
                    seen.feed(received)
                    seen.closed = not received
        finally:
            writer.close()
    except TimeoutError:
        pass
    except OSError:
        seen.closed = True
    return seen


def _finished(expect: Expect, seen: Seen) -> bool:
    return MARK in seen.pongs and satisfied(expect, seen) and expect.level not in ("connection", "alive")


async def run_program(program: str, cases: list[Case], options: str = "") -> dict[str, Seen]:
    """All cases against `program`, several at once; by themselves and last those that open a thousand streams."""
    heavy = [case for case in cases if len(case.send) > HEAVY]
    light = [case for case in cases if len(case.send) <= HEAVY]
    room = asyncio.Semaphore(AT_ONCE)

    async def run(port: int, case: Case) -> tuple[str, Seen]:
        async with room:
            return case.name, await run_case(port, case)

    async with serving(program, options) as (port, _):
        seen = dict(await asyncio.gather(*(run(port, case) for case in light)))
        for case in heavy:
            seen.update([await run(port, case)])
        return seen
