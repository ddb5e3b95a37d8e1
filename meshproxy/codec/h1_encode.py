"""HTTP/1 messages to bytes, as Envoy writes them (its `StreamEncoderImpl::encodeHeadersBase`).

Field names are lower case unless `header_key_format` says otherwise. The framing field comes last and is decided here
anew: a Content-Length among the fields is kept; else a message without a body says `content-length: 0` where a body is
usual, and one with a body is chunked. The heads hold only what a codec or `headers` has checked, so nothing is checked
again.
"""

from __future__ import annotations

from meshproxy.codec.framing import may_have_body
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import HeaderKeyFormat
from meshproxy.name_writer import NameWriter

LAST_CHUNK = b"0\r\n\r\n"

#: Envoy's reason phrases; any other status is "Unknown".
REASONS: dict[int, str] = {
    100: "Continue",
    101: "Switching Protocols",
    200: "OK",
    201: "Created",
    202: "Accepted",
    203: "Non-Authoritative Information",
    204: "No Content",
    205: "Reset Content",
    206: "Partial Content",
    207: "Multi-Status",
    208: "Already Reported",
    226: "IM Used",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    305: "Use Proxy",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Payload Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Entity",
    423: "Locked",
    424: "Failed Dependency",
    425: "Too Early",
    426: "Upgrade Required",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    506: "Variant Also Negotiates",
    507: "Insufficient Storage",
    508: "Loop Detected",
    510: "Not Extended",
    511: "Network Authentication Required",
    599: "Last Unassigned Server Error Code",
}
_line = ": ".join
_STATUS_LINES = {status: f"HTTP/1.1 {status} {reason}\r\n" for status, reason in REASONS.items()}


def encode_request_head(
    request: RequestHeaders,
    end: bool,
    names: NameWriter | None = None,
    fully_qualified: bool = False,
) -> tuple[bytes, bool]:
    """The head of a request to an upstream, and whether its body is to be sent in chunks.

    end: no body follows. names: how to write field names (`NameWriter`); None writes lower case.
    fully_qualified: write the absolute-form (`send_fully_qualified_url`).
    CONNECT is written with its authority as target. What goes through a tunnel after CONNECT or an upgrade isn't a
    body: such a request has `end` set. Raises ValueError when a filter has made a head of it that would be another one,
    or several, to its reader, or that says another length than the body has.
    """
    fields = request.fields
    if "transfer-encoding" in fields:
        request.remove("transfer-encoding")
    method = request.method
    target = request.path
    if method == "CONNECT":
        target = request.authority
    elif fully_qualified and target != "*":
        target = f"{request.scheme}://{request.authority}{target}"
    authority = request.authority
    start = f"{method}{target}{authority}"
    if " " in start or not start.isprintable():
        raise ValueError(f"not a request line and a host: {method!r} {target!r} {authority!r}")
    if "host" in fields:
        raise ValueError("a field `host`: the host of a request is its authority")
    framing = ""
    chunked = False
    if "content-length" in fields:
        if (end or request.repeated) and _sole_length(request) and end:
            raise ValueError("a Content-Length, and no body")
    else:
        if not end and method != "CONNECT":
            chunked = True
            framing = "transfer-encoding: chunked\r\n"
        elif may_have_body(method) and "upgrade" not in fields:
            framing = "content-length: 0\r\n"
    if names is None:
        # One join of joins is the quickest way to write the lines.
        lines = "\r\n".join(map(_line, request.items() if request.repeated else fields.items()))
        end_of_lines = "\r\n" if lines else ""
        head = f"{method} {target} HTTP/1.1\r\nhost: {authority}\r\n{lines}{end_of_lines}{framing}\r\n"
        return head.encode("latin-1"), chunked
    host = names.line("host", authority)
    lines = _field_lines(request, names)
    return f"{method} {target} HTTP/1.1\r\n{host}{lines}{names.lines(framing)}\r\n".encode("latin-1"), chunked


def encode_response_head(
    response: ResponseHeaders,
    end: bool,
    method: str = "GET",
    http10: bool = False,
    keep_alive: bool = True,
    names: NameWriter | None = None,
) -> tuple[bytes, bool]:
    """The head of a response to a client, and whether its body is to be sent in chunks.

    end: no body follows. method, http10: of the request. keep_alive: the connection lives on after this response;
    otherwise the head says `connection: close`, as it does when `must_close`. A Connection field that is there
    already (that of a 101) is left alone. Raises ValueError for a status of other than three digits and for an
    ambiguous Content-Length.
    """
    fields = response.fields
    if "transfer-encoding" in fields:
        response.remove("transfer-encoding")
    status = response.status
    framing = ""
    chunked = False
    if "content-length" in fields:
        if status == 204:
            response.remove("content-length")
        elif response.repeated:
            _sole_length(response)
    elif status >= 200 and status != 204 and status != 304:
        if method == "CONNECT" and status < 300:
            pass
        elif end and method != "HEAD":
            framing = "content-length: 0\r\n"
        elif not http10:
            framing = "transfer-encoding: chunked\r\n"
            chunked = method != "HEAD"
    if "connection" not in fields and status >= 200:
        if not keep_alive or must_close(response, http10):
            fields["connection"] = "close"  # logs show it
        elif http10:
            fields["connection"] = "keep-alive"
    if not http10:
        start = _STATUS_LINES.get(status) or _odd_status_line(status)
    else:
        start = f"HTTP/1.0 {status} {REASONS.get(status, 'Unknown')}\r\n"
    if names is None:
        lines = "\r\n".join(map(_line, response.items() if response.repeated else fields.items()))
        end_of_lines = "\r\n" if lines else ""
        return f"{start}{lines}{end_of_lines}{framing}\r\n".encode("latin-1"), chunked
    lines = _field_lines(response, names)
    if names.reason:
        start = f"{start[:12]} {names.reason}\r\n"
    return f"{start}{lines}{names.lines(framing)}\r\n".encode("latin-1"), chunked


def _odd_status_line(status: int) -> str:
    if type(status) is not int or not 100 <= status <= 999:
        raise ValueError(f"{status!r} is no status")
    return f"HTTP/1.1 {status} Unknown\r\n"


def _sole_length(headers: Headers) -> int:
    """The value of Content-Length. Raises ValueError when it isn't one number."""
    values = headers.get_all("content-length")
    if len(values) != 1 or not (values[0].isascii() and values[0].isdigit()):
        raise ValueError(f"not a Content-Length: {values}")
    return int(values[0])


def must_close(response: ResponseHeaders, http10: bool) -> bool:
    """Must the connection be closed after this response? An HTTP/1.0 client knows no chunks, so without a
    Content-Length only the close ends the body; Envoy closes for those without a body too."""
    return http10 and "content-length" not in response.fields


def encode_chunk(data: bytes) -> bytes:
    """One chunk. An empty `data` gives nothing: the chunk of size 0 would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def encode_trailers(trailers: Headers, names: NameWriter | None = None) -> bytes:
    """The last chunk with a trailer section."""
    return f"0\r\n{_field_lines(trailers, names)}\r\n".encode("latin-1")


def own_names(form: HeaderKeyFormat | None) -> NameWriter | None:
    """Who writes the names of heads that nobody has spelt otherwise; None: in lower case."""
    return NameWriter(proper=True) if form is not None and form.proper and not form.preserve else None


def _field_lines(headers: Headers, names: NameWriter | None) -> str:
    if names is None:
        return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return "".join([names.line(name, value) for name, value in headers.items()])
