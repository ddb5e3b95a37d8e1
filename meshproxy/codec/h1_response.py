"""HTTP/1 responses: bytes from an upstream in, calls of a sink out.

Built like `h1_request`: a fast road for the plain head, the guard for all else. What differs: the framing depends on
the request (`expect`), a body may end with the connection, folded lines are unfolded, and informational responses may
precede the answer. An upstream that breaks the protocol gets one verdict, Envoy's: 502, or a cut when the response has
begun. What a peer adds behind a complete response must never reach the next client: `keep_alive` is then false already
when the end is announced, and bytes that come while nothing is expected are an error.
"""

from __future__ import annotations

from meshproxy.codec.chunked import ChunkedBody
from meshproxy.codec.field_lines import NotPlain, names_as_written, parse_fields, refill
from meshproxy.codec.framing import (
    CHUNKED,
    PERSISTENT,
    UNTIL_CLOSE,
    bad_request,
    connection_options,
    plain_length,
    response_framing,
)
from meshproxy.codec.h1_guard import (
    HeadLimits,
    LineScanner,
    check_field_line,
    check_status_line,
    check_status_start,
    parse_odd_response,
    unfold,
)
from meshproxy.codec.h1_message import MessageParser
from meshproxy.codec.sinks import ResponseSink
from meshproxy.errors import ProtocolError
from meshproxy.headers import ResponseHeaders
from meshproxy.model.codec import Http1Options

_IDLE, _HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _FAILED = range(6)

#: Most informational responses before the final one.
MAX_INFORMATIONAL = 100

BEFORE_STARTED = "upstream_reset_before_response_started{%s}"
AFTER_STARTED = "upstream_reset_after_response_started{%s}"

_STATUS_LINES_REMEMBERED = 256

_new_response = ResponseHeaders.__new__


class _StatusLines(dict[str, int]):
    """Plain status line -> status."""

    def __missing__(self, line: str) -> int:
        if line[:9] != "HTTP/1.1 " or (len(line) > 12 and line[12] != " "):
            raise NotPlain
        status = line[9:12]
        if not (len(status) == 3 and status.isascii() and status.isdigit() and status >= "100"):
            raise NotPlain
        if not line.isprintable():
            raise NotPlain
        if len(line) < 64:
            if len(self) >= _STATUS_LINES_REMEMBERED:
                self.clear()
            self[line] = int(status)
        return int(status)


_parse_status_line = _StatusLines().__getitem__


class ResponseParser(MessageParser):
    """Reads the responses of one upstream connection. Never raises because of what it reads.

    From `on_response` on, these describe the current message:

    http10: it's HTTP/1.0.
    keep_alive: the connection may serve another request once this message is complete.
    upgrade: the Upgrade field of a 101 in lower case, else "".
    head_bytes: size of the head on the wire, its empty line included.
    """

    __slots__ = (
        "_buffer",
        "_chunked",
        "_informational",
        "_left",
        "_limits",
        "_max_fields",
        "_may_upgrade",
        "_method",
        "_options",
        "_preserved",
        "_scanned",
        "_sink",
        "_state",
        "_usual_method",
        "exceeded",
        "head_bytes",
        "http10",
        "keep_alive",
        "upgrade",
    )

    def __init__(self, sink: ResponseSink, options: Http1Options) -> None:
        self._sink = sink
        self._options = options
        self._max_bytes = options.max_headers_kb * 1024
        self._max_fields = options.max_headers_count
        self._limits = HeadLimits(self._max_bytes, self._max_fields)
        form = options.header_key_format
        self._preserved = form if form is not None and form.preserve else None
        self._state = _IDLE
        self._method = "GET"
        self._usual_method = True
        self._may_upgrade = False
        self._informational = 0
        self._buffer = b""
        self._scanned = 0
        self._scanner: LineScanner | None = None
        self._left = 0
        self._chunked: ChunkedBody | None = None
        self.http10 = False
        self.keep_alive = True
        self.exceeded = False
        self.upgrade = ""
        self.head_bytes = 0

    def expect(self, method: str, upgrade: bool = False) -> None:
        """A request is being sent: parse its response next.

        method: framing depends on HEAD and CONNECT. upgrade: the request asks for an upgrade; without it a 101 is
        an error.
        """
        if self._state == _IDLE:
            self._state = _HEAD
            if method != self._method:
                self._method = method
                self._usual_method = method != "HEAD" and method != "CONNECT"
            self._may_upgrade = upgrade
            self._informational = 0
            self.keep_alive = True

    def idle(self) -> bool:
        """No response is expected, and the connection can serve another request. (No property: each request asks, and
        the interpreter calls a method in a third of the time.)"""
        return self._state == _IDLE and self.keep_alive

    @property
    def buffered(self) -> int:
        """Bytes of an incomplete line or head."""
        return len(self._buffer)

    def receive(self, data: bytes) -> None:
        """Take bytes from the upstream."""
        if self._state == _HEAD and not self._buffer:
            # The plainest case first: a head in one piece.
            end = data.find(b"\r\n\r\n") + 4
            if 4 <= end <= self._max_bytes:
                rest = self._recognise(data, end)
                if rest is not None:
                    if self._state == _LENGTH and len(rest) == self._left:
                        self._state = _IDLE
                        self._sink.on_response_body(rest, True)
                        return
                    data = rest
        elif self._buffer:
            data = self._buffer + data
            self._buffer = b""
        while data:
            state = self._state
            if state == _HEAD:
                data = self._read_head(data)
            elif state == _LENGTH:
                data = self._read_length(data)
            elif state == _CHUNKED:
                data = self._read_chunked(data)
            elif state == _UNTIL_CLOSE:
                self._sink.on_response_body(data, False)
                break
            else:
                # Behind a response whose end has been announced: the announcement has said keep_alive = False.
                if state == _IDLE and self.keep_alive:
                    self._fail(bad_request("bytes that nobody asked for"))
                break

    def receive_eof(self) -> None:
        """The upstream sends no more.

        Ends a body that the connection delimits, and a tunnel. A truncated message is an error (502). When nothing of
        the final response has come, the error is 503 with `connection_termination`. While idle nothing is called.
        """
        if self._state == _UNTIL_CLOSE:
            self._state = _IDLE
            self.keep_alive = False
            self._sink.on_response_body(b"", True)
        elif self._state == _HEAD and not self._buffer:
            self._state = _FAILED
            self.keep_alive = False
            self._sink.on_response_error(ProtocolError(503, BEFORE_STARTED % "connection_termination"))
        elif self._state != _IDLE:
            self._fail(bad_request("the response is truncated"))

    # -- heads

    def _recognise(self, data: bytes, end: int) -> bytes | None:
        try:
            lines = data[: end - 4].decode("latin-1").split("\r\n")
            start = lines.pop(0)
            status = _parse_status_line(start)
            if len(lines) > self._max_fields:
                return None
            fields = parse_fields(lines)
            response = _new_response(ResponseHeaders)
            response.written = None
            response.repeated = False
            response.fields = fields
            if len(fields) != len(lines):
                refill(response, lines)
        except NotPlain:
            return None
        response.status = status
        self.http10 = False
        if self._preserved is not None:
            response.written = names_as_written(lines, self._preserved, start[13:])
        try:
            return self._begin(response, data, end)
        except ProtocolError as error:
            return self._fail(error)

    def _read_odd_head(self, data: bytes) -> bytes:
        scanner = self._scanner
        if scanner is None:
            scanner = self._scanner = LineScanner(self._limits)
            self._scanned = 0
        if self._scanned == 0:
            check_status_start(data)
        while (line := scanner.next_line(data, self._scanned, self._scanned > 0)) is not None:
            if not self._scanned:
                check_status_line(line)
            elif line[:1] in (b" ", b"\t"):
                self._check_fold(data, line)
            elif line:
                check_field_line(line)
            self._scanned += len(line) + 2
            if not line:
                break
        else:
            self._buffer = data
            return b""
        end, self._scanned, self._scanner = self._scanned, 0, None
        rest = self._recognise(data, end)
        if rest is not None:
            return rest
        head = unfold(data[:end])
        response, self.http10 = parse_odd_response(head)
        if self._preserved is not None:
            start, *lines = head[:-4].decode("latin-1").split("\r\n")
            response.written = names_as_written(lines, self._preserved, start[13:])
        return self._begin(response, data, end)

    def _check_fold(self, data: bytes, line: bytes) -> None:
        """A folded line continues a field line, never the status line (RFC 9112 section 2.2)."""
        if data.find(b"\n") == self._scanned - 1:
            raise bad_request("white space before the first field")
        check_field_line(b"folded:" + line)

    @property
    def is_chunked(self) -> bool:
        """Whether the response under way comes in chunks."""
        return self._state == _CHUNKED

    def _begin(self, response: ResponseHeaders, data: bytes, end: int) -> bytes:
        """Put the framing of a response into effect and announce it; return what follows the head."""
        fields = response.fields
        status = response.status
        length = plain_length(fields) if self._usual_method and not response.repeated else None
        if length is None or status == 204 or status == 304 or status < 200:
            length = response_framing(response, self._method, self._options.allow_chunked_length)
            if status < 200:
                return self._announce_informational(response, data, end)
        self.head_bytes = end
        if self.http10 or ("connection" in fields and (fields["connection"] not in PERSISTENT or response.repeated)):
            options = connection_options(response.get("connection", "") or "")
            self.keep_alive = "close" not in options and (not self.http10 or "keep-alive" in options)
        if "proxy-connection" in fields and "close" in connection_options(response["proxy-connection"]):
            self.keep_alive = False
        rest = data[end:] if len(data) != end else b""
        if length == 0:
            self._state = _IDLE
            if rest:
                self._exceed()
            self._sink.on_response(response, True)
            return b""
        if length == CHUNKED:
            self._state = _CHUNKED
            self._chunked = ChunkedBody(self._limits)
        elif length == UNTIL_CLOSE:
            self._state = _UNTIL_CLOSE
            self.keep_alive = False
        else:
            self._state = _LENGTH
            self._left = length
        self._sink.on_response(response, False)
        return rest

    def _announce_informational(self, response: ResponseHeaders, data: bytes, end: int) -> bytes:
        rest = data[end:]
        if response.status != 101:
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise bad_request("too many informational responses")
            self._sink.on_response_informational(response)
            return rest
        if not self._may_upgrade:
            raise bad_request("101 without a request for it")
        self.head_bytes = end
        self.upgrade = (response.get("upgrade", "") or "").lower()
        self.keep_alive = False
        self._state = _UNTIL_CLOSE
        self._sink.on_response(response, False)
        return rest

    # -- bodies

    def _read_length(self, data: bytes) -> bytes:
        left = self._left
        size = len(data)
        if size < left:
            self._left = left - size
            self._sink.on_response_body(data, False)
            return b""
        self._state = _IDLE
        if size > left:
            self._exceed()
            data = data[:left]
        self._sink.on_response_body(data, True)
        return b""

    def _read_chunked(self, data: bytes) -> bytes:
        chunked = self._chunked
        assert chunked is not None
        pieces: list[bytes] = []
        try:
            consumed = chunked.read(data, pieces)
        except ProtocolError as error:
            if pieces:
                self._sink.on_response_body(b"".join(pieces), False)
            return self._fail(error)
        if not chunked.done:
            self._buffer = data[consumed:]
            if pieces:
                self._sink.on_response_body(b"".join(pieces), False)
            return b""
        self._chunked = None
        self._state = _IDLE
        if consumed != len(data):
            self._exceed()
        if self._options.enable_trailers and chunked.trailers:
            if pieces:
                self._sink.on_response_body(b"".join(pieces), False)
            self._sink.on_response_trailers(chunked.trailers)
        else:
            self._sink.on_response_body(b"".join(pieces), True)
        return b""

    def _exceed(self) -> None:
        """There are bytes behind the response's end."""
        self.keep_alive = False
        self.exceeded = True

    def _fail(self, error: ProtocolError) -> bytes:
        if self._state != _FAILED:
            details = (BEFORE_STARTED if self._state == _HEAD else AFTER_STARTED) % "protocol_error"
            self._state = _FAILED
            self._buffer = b""
            self.keep_alive = False
            self._sink.on_response_error(ProtocolError(502, details, str(error)))
        return b""
