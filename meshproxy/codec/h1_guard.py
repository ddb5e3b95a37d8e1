"""The guard: every head that isn't of the plain shape, and every head that arrives in parts, passes here.

It reads line by line, in the order of the wire, and names the first fault with Envoy's status and details; so the
verdict never depends on how the bytes were cut. What Envoy lets through against RFC 9112 is refused here: bare LF and
bare CR, folded lines in requests, more than one Host, userinfo in Host, a backslash in the target. The little that
remains is legal but unusual (HTTP/1.0, absolute-form, CONNECT, folded lines in responses); h11 must read the very same
message in it, so no leniency of ours alone can let a head pass.
"""

from __future__ import annotations

import re
from types import ModuleType
from typing import NamedTuple

from meshproxy.codec.field_lines import NotPlain, has_control, is_token, parse_field_line
from meshproxy.codec.framing import bad_request, check_nominations, connection_options, request_framing
from meshproxy.codec.target import has_scheme, is_connect_target, is_host, is_url_authority, split_absolute
from meshproxy.errors import ProtocolError
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http1Options

# The methods that Envoy's HTTP/1 codec knows.
METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY", "ACL", "BIND", "CHECKOUT"}
    | {"COPY", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "PROPFIND", "PROPPATCH"}
    | {"PURGE", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE"}
)
_METHOD_STARTS = frozenset(f"{method} "[:n].encode() for method in METHODS for n in range(1, len(method) + 2))
_LONGEST_METHOD = max(map(len, METHODS))
_VERSION_START = b"HTTP/1."

# What isn't a method has been refused before (`check_request_start`).
_request_line = re.compile(r"([^ ]+) ([\x21-\x7e]+) HTTP/([0-9]\.[0-9])").fullmatch
_simple_request_line = re.compile(r"[^ ]+ /[\x21-\x7e]*").fullmatch
_status_line = re.compile(r"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?").fullmatch
_fold = re.compile(rb"\r\n[ \t]+")
_control_but_line_end = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search


class HeadLimits(NamedTuple):
    """Most bytes, and most fields, of a head or of a trailer section."""

    max_bytes: int
    max_fields: int


class LineScanner:
    """Hands out the lines of one section, up to its empty line, and holds the section to its limits."""

    __slots__ = ("_count", "_room")

    def __init__(self, limits: HeadLimits) -> None:
        self._room = limits.max_bytes
        self._count = limits.max_fields

    def next_line(self, data: bytes, position: int, is_field: bool = True) -> bytes | None:
        """The line that begins at `position`, without its CR LF; None as long as it's incomplete.

        Raises ProtocolError: 400 for a bare LF, 431 beyond the limits.
        """
        end = data.find(b"\n", position, position + self._room)
        if end < 0:
            if len(data) - position > self._room:
                raise ProtocolError(431, "http1.headers_too_large")
            return None
        if end == position or data[end - 1] != 13:
            raise bad_request("bare LF")
        self._room -= end + 1 - position
        if is_field and end - 1 > position:
            self._count -= 1
            if self._count < 0:
                raise ProtocolError(431, "http1.too_many_headers")
        return data[position : end - 1]


def check_request_start(data: bytes, custom_methods: bool = False) -> None:
    """Refuse as early as possible what can't become a request line. Raises ProtocolError (400)."""
    if custom_methods:
        method, space, _ = data.partition(b" ")
        text = method.decode("latin-1")
        if is_token(text) is None and (space or text):
            if is_token(text[:1]) is None:
                raise bad_request("not a method")
            _refuse_line(text)
        return
    start = data[: _LONGEST_METHOD + 1]
    for n in range(1, len(start) + 1):
        if start[:n] in _METHOD_STARTS:
            if start[n - 1] == 32:
                return
            continue
        if n > 1 and start[n - 1] not in b"\r\n" and has_control(chr(start[n - 1])):
            raise bad_request("control byte in the method", "http1.invalid_characters")
        raise bad_request("unknown method")


def check_status_start(data: bytes) -> None:
    """Refuse as early as possible what can't become a status line. Raises ProtocolError (400)."""
    if data[: len(_VERSION_START)] != _VERSION_START[: len(data)]:
        raise bad_request("not an HTTP/1 response")


def check_request_line(line: bytes) -> None:
    """Refuse a malformed request line: 400, or 426 for the simple request of HTTP/0.9. Raises ProtocolError."""
    text = line.decode("latin-1")
    match = _request_line(text)
    if match is None:
        _refuse_line(text) if _simple_request_line(text) is None else _refuse_version()
    elif match[2][0] not in "/*" and match[1] != "CONNECT" and not has_scheme(match[2]):
        raise bad_request("target is not a path")


def check_status_line(line: bytes) -> None:
    """Refuse a malformed status line. Raises ProtocolError."""
    text = line.decode("latin-1")
    if _status_line(text) is None:
        _refuse_line(text)


def check_field_line(line: bytes) -> tuple[str, str]:
    """Lower-case name and value of a field line; the value of Host is judged later. Raises ProtocolError (400)."""
    text = line.decode("latin-1")
    try:
        return parse_field_line(text)
    except NotPlain:
        pass
    name, colon, value = text.partition(":")
    if not colon or is_token(name) is None or has_control(value):
        _refuse_line(text)
    return name.lower(), value.strip(" \t")


def _refuse_line(text: str) -> None:
    if _control_but_line_end(text):
        raise bad_request("control byte", "http1.invalid_characters")
    raise bad_request(f"malformed line {text[:64]!r}")


def _refuse_version() -> None:
    raise ProtocolError(426, "low_version")


class FramedRequest(NamedTuple):
    """A request with all that its head decides: the framing of `request_framing`, and whether it's HTTP/1.0.

    The request's scheme is that of an absolute-form, "" for the other forms.
    """

    request: RequestHeaders
    length: int
    http10: bool


def parse_odd_request(head: bytes, options: Http1Options) -> FramedRequest:
    """Judge a complete head (with its empty line) whose lines have passed one by one.

    Raises ProtocolError, in the order in which Envoy looks: framing, Connection, target, authority, version, Host.
    """
    lines = head[:-4].split(b"\r\n")
    match = _request_line(lines[0].decode("latin-1"))
    assert match is not None
    method, target, version = match.groups()
    fields = [check_field_line(line) for line in lines[1:]]
    request = RequestHeaders(method, target, scheme="", fields=())
    for name, value in fields:
        request.append_checked(name, value)
    length = request_framing(request, options.allow_chunked_length)
    http10 = version != "1.1"
    try:
        _judge_meaning(request, length, version, options)
    except ProtocolError as error:
        error.request = request
        raise
    _second_reader().check_request(head, fields)
    return FramedRequest(request, length, http10)


def _judge_meaning(request: RequestHeaders, length: int, version: str, options: Http1Options) -> None:
    """What the lines say together. Raises ProtocolError."""
    if "connection" in request.fields:
        check_nominations(request, connection_options(request["connection"]))
    hosts = request.get_all("host")
    request.remove("host")
    _apply_target(request, hosts, options)
    http10 = version != "1.1"
    if http10 and not (version in ("0.9", "1.0") and options.accept_http_10):
        _refuse_version()
    _check_hosts(hosts, http10)
    if http10 and length < 0:
        raise bad_request("Transfer-Encoding in HTTP/1.0")
    if not request.authority:
        request.authority = hosts[0] if hosts else options.default_host_for_http_10
    if http10 and not request.authority and not hosts:
        raise bad_request("no Host and no default", "missing_host_header")


def _apply_target(request: RequestHeaders, hosts: list[str], options: Http1Options) -> None:
    """Make the target what the rest of the proxy sees: a path, "*", or the authority of CONNECT."""
    target = request.path
    if request.method == "CONNECT":
        if not is_connect_target(target):
            raise bad_request("CONNECT needs host:port", "http1.invalid_url")
        request.authority, request.path = target, ""
    elif target[0] != "/" and options.allow_absolute_url and not (target[0] == "*" and request.method == "OPTIONS"):
        if target[0] == "*":
            raise bad_request("target * is for OPTIONS", "http1.invalid_url")
        parts = split_absolute(target)
        if parts is None:
            somebody = is_url_authority(re.split("[/?#]", target.partition("://")[2], maxsplit=1)[0])
            raise bad_request("scheme of the target", "http1.invalid_scheme" if somebody else "http1.invalid_url")
        request.scheme, authority, path = parts
        if not is_url_authority(authority):
            raise bad_request("authority of the target", "http1.invalid_url")
        request.authority, request.path = authority, path
    if not all(map(is_host, hosts)):
        raise bad_request("malformed Host", "http.invalid_authority")


def _check_hosts(hosts: list[str], http10: bool) -> None:
    if len(hosts) > 1:
        raise bad_request("more than one Host", "http.invalid_authority")
    if not hosts and not http10:
        raise bad_request("no Host", "missing_host_header")


def unfold(head: bytes) -> bytes:
    """The head with each folded line made one (RFC 9112 section 5.2: one space)."""
    *folded, rest = _fold.split(head)  # to look for the blanks in front as well would try each of a million blanks
    return b" ".join([*(part.rstrip(b" \t") for part in folded), rest])


def parse_odd_response(head: bytes) -> tuple[ResponseHeaders, bool]:
    """Judge a complete, unfolded head (with its empty line) whose lines have passed; the response, and whether it's
    HTTP/1.0. Raises ProtocolError.
    """
    lines = head[:-4].split(b"\r\n")
    match = _status_line(lines[0].decode("latin-1"))
    assert match is not None
    fields = [check_field_line(line) for line in lines[1:]]
    response = ResponseHeaders(int(match[2]))
    for name, value in fields:
        response.append_checked(name, value)
    _second_reader().check_response(head, fields)
    return response, match[1] == "0"


def _second_reader() -> ModuleType:
    """Imported when a head first needs it: most proxies never see one, and h11 takes a while to load."""
    from meshproxy.codec import h1_second_reader

    return h1_second_reader
