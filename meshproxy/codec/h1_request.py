"""HTTP/1 requests: bytes in, calls of a sink out.

There are two roads. `_recognise` takes the plain common head (RFC 9112 with nothing unusual in it) in one pass: one
split, one look-up per field line, one dict. Whatever it doesn't take, and each head that arrives in parts, goes through
`h1_guard`, which names the fault or admits the unusual. Both roads end in `_begin`, the only place where a request's
framing is put into effect.

Invariants:
- one message at a time: after a complete message the parser stops, and what follows it stays buffered until
  `next_message` (or `switch_to_raw`). So bytes behind an Upgrade or CONNECT wait for the answer to it;
- the calls that a byte sequence causes don't depend on how it was cut, but for the pieces in which a body is handed on;
- after `on_request_error` nothing more is parsed or called.
"""

from __future__ import annotations

from meshproxy.codec.chunked import ChunkedBody
from meshproxy.codec.field_lines import NotPlain, names_as_written, parse_fields, refill
from meshproxy.codec.framing import (
    CHUNKED,
    PERSISTENT,
    bad_request,
    connection_options,
    request_framing,
)
from meshproxy.codec.h1_guard import (
    METHODS,
    HeadLimits,
    LineScanner,
    check_field_line,
    check_request_line,
    check_request_start,
    parse_odd_request,
)
from meshproxy.codec.h1_message import MessageParser
from meshproxy.codec.h1_request_options import drop_underscored, treat_connection
from meshproxy.codec.sinks import RequestSink
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders
from meshproxy.model.codec import Http1Options

_HEAD, _LENGTH, _CHUNKED, _RAW, _DONE, _FAILED = range(6)

#: Most bytes of empty lines before a request line (RFC 9112 section 2.2 asks to skip at least one).
MAX_BLANK = 1024

_G = ord("G")
_PLAIN_METHODS = METHODS - {"CONNECT"}

_new_request = RequestHeaders.__new__


class _Nobody(RequestSink):
    """Hears nothing."""

    def on_request(self, request: RequestHeaders, end: bool) -> None: ...

    def on_request_body(self, data: bytes, end: bool) -> None: ...

    def on_request_trailers(self, trailers: Headers) -> None: ...

    def on_dropped_names(self, count: int) -> None: ...

    def on_request_error(self, error: ProtocolError) -> None: ...


_NOBODY = _Nobody()


class RequestParser(MessageParser):
    """Reads the requests of one connection. Never raises because of what it reads.

    From `on_request` on, these describe the current message:

    http10: it's HTTP/1.0 (or 0.9, which counts as 1.0).
    keep_alive: the client lets the connection live on.
    upgrade: the Upgrade field in lower case when Connection nominates it, else ""; `h1_request_options.UNNAMED_UPGRADE`
        where it is empty.
    expect_continue: the client waits for 100 (Continue).
    head_bytes: size of the head on the wire, its empty line included.
    """

    __slots__ = (
        "_blank",
        "_busy",
        "_careful",
        "_chunked",
        "_left",
        "_max_fields",
        "_options",
        "_plain",
        "_scanned",
        "_sink",
        "_state",
        "expect_continue",
        "head_bytes",
        "http10",
        "keep_alive",
        "unparsed",
        "upgrade",
    )

    def __init__(self, sink: RequestSink, options: Http1Options) -> None:
        self._sink = sink
        self._options = options
        self._max_bytes = options.max_headers_kb * 1024
        self._max_fields = options.max_headers_count
        # Whether the names of the fields matter only to those who look for them.
        self._plain = options.underscores == "ALLOW" and not (
            options.header_key_format and options.header_key_format.preserve
        )
        # Whether each head needs a closer look: for its names, or because the last one left facts to be reset.
        self._careful = not self._plain
        self._state = _HEAD
        self.unparsed = b""
        self._busy = False
        self._blank = 0
        self._scanned = 0
        self._scanner: LineScanner | None = None
        self._left = 0
        self._chunked: ChunkedBody | None = None
        self.http10 = False
        self.keep_alive = True
        self.upgrade = ""
        self.expect_continue = False
        self.head_bytes = 0

    def _limits(self) -> HeadLimits:
        # Few requests need it, so it isn't made with each connection.
        return HeadLimits(self._max_bytes, self._max_fields)

    @property
    def idle(self) -> bool:
        """Between messages, and nothing of the next one has arrived."""
        return self._state == _HEAD and not self.unparsed

    @property
    def buffered(self) -> int:
        """Bytes that wait, of an incomplete head or behind the current message; the owner bounds the latter."""
        return len(self.unparsed)

    def receive(self, data: bytes) -> None:
        """Take bytes from the client. Must not be called from within a hook of the sink."""
        # The plainest case first: exactly one head of a GET. Searching for its end would cost as much as a tenth of the
        # parse; were there another empty line within, the fast road would not take it.
        if (
            self._state == _HEAD
            and not self.unparsed
            and data.endswith(b"\r\n\r\n")
            and data[0] == _G
            and len(data) <= self._max_bytes
        ):
            rest = self._recognise(data, len(data))
            if rest is None:
                self._run(data)
            elif rest:
                self._run(rest)
            return
        if self.unparsed:
            data = self.unparsed + data
            self.unparsed = b""
        self._run(data)

    def _run(self, data: bytes) -> None:
        """Parse what can be parsed of `data`, and keep the rest."""
        self._busy = True
        try:
            while data:
                state = self._state
                if state == _HEAD:
                    data = self._read_head(data)
                elif state == _LENGTH:
                    data = self._read_length(data)
                elif state == _CHUNKED:
                    data = self._read_chunked(data)
                elif state == _RAW:
                    self._sink.on_request_body(data, False)
                    break
                else:
                    if state == _DONE:
                        self.unparsed = data
                    break
        finally:
            self._busy = False

    def next_message(self) -> None:
        """The response is complete: parse what follows. May be called from within a hook."""
        if self._state == _DONE:
            self._state = _HEAD
            self._blank = 0
            if self.unparsed and not self._busy:
                self.receive(b"")

    def switch_to_raw(self) -> None:
        """The answer to Upgrade or CONNECT was positive: all further bytes go to `on_request_body(data, False)`."""
        if self._state != _FAILED:
            self._state = _RAW
            if self.unparsed and not self._busy:
                self.receive(b"")

    def receive_eof(self) -> None:
        """The client sends no more.

        Raw bytes end with `on_request_body(b"", True)`. A truncated message is an error, so that it's never taken for
        a complete one: 400 with `downstream_remote_disconnect`, to which Envoy gives no answer but closes. After
        complete messages nothing is called.
        """
        if self._state == _RAW:
            self._state = _DONE
            self._sink.on_request_body(b"", True)
        elif self._state in (_LENGTH, _CHUNKED) or (self._state == _HEAD and self.unparsed):
            self._fail(bad_request("the message is truncated", "downstream_remote_disconnect"))

    def close(self) -> None:
        """The connection is gone: nothing more is parsed or called, and the sink is let go."""
        self._state = _FAILED
        self._sink = _NOBODY

    # -- heads

    def _recognise(self, data: bytes, end: int) -> bytes | None:
        try:
            lines = data[: end - 4].decode("latin-1").split("\r\n")
            method, path, version = lines.pop(0).split(" ")
            if (
                version != "HTTP/1.1"
                or method not in _PLAIN_METHODS
                or path[0] != "/"
                or not path.isascii()
                or not path.isprintable()
                or len(lines) > self._max_fields
            ):
                return None
            fields = parse_fields(lines)
            request = _new_request(RequestHeaders)
            request.written = None
            request.repeated = False
            request.fields = fields
            if len(fields) != len(lines):
                refill(request, lines)
                fields = request.fields
            request.authority = fields.pop("host")
        except (NotPlain, ValueError, LookupError):
            return None
        request.method = method
        request.path = path
        request.scheme = ""
        if (
            "content-length" in fields
            or "connection" in fields
            or "proxy-connection" in fields
            or "transfer-encoding" in fields
            or "expect" in fields
            or self._careful
        ):
            return self._begin_framed(request, lines, data, end)
        self.head_bytes = end
        self._state = _DONE
        self._sink.on_request(request, True)
        return data[end:] if len(data) != end else b""

    def _read_odd_head(self, data: bytes) -> bytes:
        scanner = self._scanner
        if scanner is None:
            data = self._skip_blank_lines(data)
            if data in (b"", b"\r"):
                self.unparsed = data
                return b""
            check_request_start(data, self._options.allow_custom_methods)
            scanner = self._scanner = LineScanner(self._limits())
            self._scanned = 0
        elif self._scanned == 0:
            check_request_start(data, self._options.allow_custom_methods)
        while (line := scanner.next_line(data, self._scanned, self._scanned > 0)) is not None:
            check = check_field_line if self._scanned else check_request_line
            self._scanned += len(line) + 2
            if not line:
                break
            check(line)
        else:
            self.unparsed = data
            return b""
        end, self._scanned, self._scanner = self._scanned, 0, None
        rest = self._recognise(data, end)
        if rest is not None:
            return rest
        odd = parse_odd_request(data[:end], self._options)
        lines = data[: end - 4].decode("latin-1").split("\r\n")[1:]
        return self._begin(*odd, lines, data, end)

    def _skip_blank_lines(self, data: bytes) -> bytes:
        while data.startswith(b"\r\n"):
            data = data[2:]
            self._blank += 2
            if self._blank > MAX_BLANK:
                raise bad_request("nothing but empty lines")
        return data

    def _treat_names(self, request: RequestHeaders, lines: list[str]) -> None:
        """What the options ask for as to names. Raises ProtocolError (400)."""
        if self._options.underscores != "ALLOW":
            dropped = drop_underscored(request, self._options)
            if dropped:
                self._sink.on_dropped_names(dropped)
        form = self._options.header_key_format
        if form is not None and form.preserve:
            request.written = names_as_written(lines, form)

    def _begin_framed(self, request: RequestHeaders, lines: list[str], data: bytes, end: int) -> bytes:
        """The rest of the fast road for a request with something to decide."""
        try:
            length = request_framing(request, self._options.allow_chunked_length)
            return self._begin(request, length, False, lines, data, end)
        except ProtocolError as error:
            error.request = request
            return self._fail(error)

    def _begin(
        self,
        request: RequestHeaders,
        length: int,
        http10: bool,
        lines: list[str],
        data: bytes,
        end: int,
    ) -> bytes:
        """Put the facts and the framing of a request into effect, and announce it; return what follows the head.

        Raises ProtocolError for what Connection or the options forbid.
        """
        if not self._plain:
            self._treat_names(request, lines)
        fields = request.fields
        self.http10 = http10
        self.keep_alive = not http10
        self.upgrade = ""
        self.expect_continue = "expect" in fields and request["expect"].lower() == "100-continue"
        if "connection" in fields and (http10 or request.repeated or fields["connection"] not in PERSISTENT):
            self.keep_alive, self.upgrade = treat_connection(request, http10, self._options)
            if self.expect_continue and "expect" in connection_options(request.get("connection", "") or ""):
                self.expect_continue = False  # it ends here, unread
        if "proxy-connection" in fields and not http10 and "close" in connection_options(request["proxy-connection"]):
            self.keep_alive = False  # no standard, but old clients mean it, and Envoy listens
        self._careful = not (self._plain and self.keep_alive) or http10 or self.expect_continue or self.upgrade != ""
        self.head_bytes = end
        if length == 0:
            self._state = _DONE
        elif length == CHUNKED:
            self._state = _CHUNKED
            self._chunked = ChunkedBody(self._limits())
        else:
            self._state = _LENGTH
            self._left = length
        self._sink.on_request(request, length == 0)
        return data[end:] if len(data) != end else b""

    # -- bodies

    def _read_length(self, data: bytes) -> bytes:
        left = self._left
        size = len(data)
        if size < left:
            self._left = left - size
            self._sink.on_request_body(data, False)
            return b""
        self._state = _DONE
        if size == left:
            self._sink.on_request_body(data, True)
            return b""
        self._sink.on_request_body(data[:left], True)
        return data[left:]

    def _read_chunked(self, data: bytes) -> bytes:
        chunked = self._chunked
        assert chunked is not None
        pieces: list[bytes] = []
        try:
            consumed = chunked.read(data, pieces)
        except ProtocolError as error:
            if pieces:
                self._sink.on_request_body(b"".join(pieces), False)
            return self._fail(error)
        rest = data[consumed:]
        if not chunked.done:
            self.unparsed = rest
            if pieces:
                self._sink.on_request_body(b"".join(pieces), False)
            return b""
        self._chunked = None
        if self._options.enable_trailers and chunked.trailers:
            if pieces:
                self._sink.on_request_body(b"".join(pieces), False)
            self._state = _DONE
            self._sink.on_request_trailers(chunked.trailers)
        else:
            self._state = _DONE
            self._sink.on_request_body(b"".join(pieces), True)
        return rest

    def _fail(self, error: ProtocolError) -> bytes:
        """The end of this parser, unless the sink's hook has ended it already."""
        if self._state != _FAILED:
            self._state = _FAILED
            self.unparsed = b""
            self._sink.on_request_error(error)
        return b""
