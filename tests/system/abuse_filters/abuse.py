"""A filter that does what no filter should, as the request's `x-abuse` says. Loaded by the program under test."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply


@dataclass(frozen=True, slots=True)
class AbuseConfig:
    """There is nothing to configure."""


class Abuse(HttpFilter[AbuseConfig]):
    """Before the router; `how` is what this request's filter does."""

    config_type = AbuseConfig
    how = ""

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> Any:
        how = self.how = request.get("x-abuse") or ""
        time.sleep(float(request.get("x-block-seconds") or 0.0))  # the abuse
        match how:
            case "raise-head":
                raise RuntimeError(how)
            case "type-head":
                return 17
            case "async-type-head":
                return self._later(17)
            case "async-raise-head":
                return self._fail()
            case "hang-head":
                return self._hang()
            case "swallow-cancel":
                return self._swallow()
            case "reply-and-return":
                stream.reply(LocalReply(403, b"first"))
                return LocalReply(404, b"second")
            case "reply-twice":
                stream.reply(LocalReply(403, b"first"))
                stream.reply(LocalReply(404, b"second"))
            case "reply-and-go-on":
                stream.reply(LocalReply(403, b"first"))
            case "reset-and-go-on":
                stream.reset("abuse")
                stream.reset("again")
            case "send-twice":
                stream.send_headers(ResponseHeaders(200), True)
                stream.send_headers(ResponseHeaders(201), True)
                stream.send_body(b"late", True)
                stream.send_trailers(Headers([("x-late", "1")]))
            case "body-first":
                stream.send_body(b"no head", True)
            case "trailers-first":
                stream.send_trailers(Headers([("x", "1")]))
            case "head-without-end":
                stream.send_headers(ResponseHeaders(200), False)
            case "reply-204":
                return LocalReply(204, b"must not be seen")
            case "reply-304":
                return LocalReply(304, b"must not be seen")
            case "reply-100":
                return LocalReply(100, b"body")
            case "reply-101":
                return LocalReply(101)
            case "reply-7":
                return LocalReply(7, b"body")
            case "reply-1234":
                return LocalReply(1234, b"body")
            case "reply-crlf":
                return LocalReply(403, b"x", headers=(("x-a", "b\r\nx-injected: 1\r\n\r\nHTTP/1.1 200 OK"),))
            case "reply-length":
                return LocalReply(403, b"abc", headers=(("content-length", "1"),))
            case "reply-te":
                return LocalReply(403, b"abc", headers=(("transfer-encoding", "chunked"),))
            case "reply-text":
                return LocalReply(403, "text")  # type: ignore[arg-type]  # the abuse
            case "set-crlf":
                request["x-a"] = "b\r\nx-injected: 1"
            case "fields-type":
                request.fields["x-a"] = 3  # type: ignore[assignment]  # the abuse
            case "fields-unicode":
                request.fields["x-a"] = "\u20ac"
            case "path-crlf":
                request.path = "/x HTTP/1.1\r\nx-injected: 1\r\n\r\nGET /y"
            case "path-none":
                request.path = None  # type: ignore[assignment]  # the abuse
            case "length-more":
                request["content-length"] = "50"
            case "length-less":
                request["content-length"] = "2"
            case "length-added":
                request["content-length"] = "7"
            case "length-twice":
                request.add("content-length", "5")
                request.add("content-length", "6")
            case "length-bad":
                request["content-length"] = "five"
            case "te-added":
                request["transfer-encoding"] = "gzip"
            case "host-field":
                request["host"] = "b.example"
            case "method-odd":
                request.method = "GET /a HTTP/1.1\r\nx: y\r\n\r\nGET"
            case "disable-for-ever":
                stream.read_disable(True)
                stream.read_disable(True)
            case "enable-unasked":
                stream.read_disable(False)
                stream.read_disable(False)
            case "upgrade-unasked":
                stream.accept_upgrade()
            case "timer":
                stream.schedule(0.05, self._raise)
            case "late-timer-reply":
                stream.schedule(0.05, lambda: stream.reply(LocalReply(403, b"late")))
            case "fetch-unknown":
                return stream.fetch("unknown", "GET", "/")
            case "recursion":
                return self._recurse()
        return None

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> Any:
        match self.how:
            case "raise-body":
                raise RuntimeError(self.how)
            case "type-body":
                return "text"
            case "list-body":
                return [data]
            case "async-raise-body":
                return self._fail()
            case "hang-body":
                return self._hang()
            case "longer-body":
                return data * 3
            case "shorter-body":
                return data[:2]
            case "empty-body":
                return b""
            case "reply-in-body":
                return LocalReply(403, b"in body")
        return None

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> Any:
        match self.how:
            case "raise-response":
                raise RuntimeError(self.how)
            case "type-response":
                return LocalReply(403)
            case "hang-response":
                return self._hang()
            case "reply-in-response":
                stream.reply(LocalReply(403, b"instead"))
            case "reset-in-response":
                stream.reset("abuse")
            case "status-204":
                response.status = 204
            case "status-304":
                response.status = 304
            case "status-100":
                response.status = 100
            case "status-text":
                response.status = "abc"  # type: ignore[assignment]  # the abuse
            case "response-crlf":
                response["x-a"] = "b\r\n\r\nHTTP/1.1 200 OK\r\n"
            case "response-unicode":
                response.fields["x-a"] = "\u20ac"
            case "response-length-more":
                response["content-length"] = "50"
            case "response-length-less":
                response["content-length"] = "1"
            case "response-length-twice":
                response.add("content-length", "7")
            case "response-length-gone":
                response.remove("content-length")
            case "response-te":
                response["transfer-encoding"] = "chunked"
            case "response-connection":
                response["connection"] = "upgrade"
        return None

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> Any:
        match self.how:
            case "raise-response-body":
                raise RuntimeError(self.how)
            case "type-response-body":
                return 5
            case "hang-response-body":
                return self._hang()
            case "async-response-body":
                return self._pass_on(stream, data)
            case "longer-response":
                return data * 3
            case "shorter-response":
                return data[:1]
            case "reply-in-response-body":
                stream.reply(LocalReply(403, b"too late"))
        return None

    def on_stream_complete(self, stream: Stream) -> None:
        match self.how:
            case "raise-complete":
                raise RuntimeError(self.how)
            case "reply-complete":
                stream.reply(LocalReply(403, b"too late"))
                stream.send_headers(ResponseHeaders(200), True)
                stream.send_body(b"late", True)
                stream.reset("late")
                stream.flush()
            case "timer-complete":
                stream.schedule(0.05, lambda: stream.send_body(b"late", True))

    def _raise(self) -> None:
        raise RuntimeError("in a timer")

    def _recurse(self) -> Any:
        return self._recurse()

    async def _later(self, value: Any) -> Any:
        await asyncio.sleep(0.02)
        return value

    async def _fail(self) -> None:
        await asyncio.sleep(0.02)
        raise RuntimeError(self.how)

    async def _hang(self) -> None:
        await asyncio.Event().wait()

    async def _swallow(self) -> None:
        while True:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                await asyncio.sleep(0.05)
                return

    async def _pass_on(self, stream: Stream, data: bytes) -> bytes:
        await stream.sleep(0.001)
        return data
