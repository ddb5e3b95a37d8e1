"""Where a message ends, decided in one place (RFC 9112 section 6), and what its Connection field says.

This is the decision that request smuggling attacks: two programs that read the same bytes and disagree about the end of
a message. Hence the rules are Envoy's, which are stricter than the RFC: one Content-Length of decimal digits, or
exactly `chunked`, never both. Transfer-Encoding belongs to one connection, so it leaves the fields here and whoever
writes the message decides anew; Content-Length stays.
"""

from __future__ import annotations

from functools import lru_cache

from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders

#: Framings other than a length in bytes.
CHUNKED = -1
UNTIL_CLOSE = -2

#: Values of Connection that say what HTTP/1.1 assumes anyway.
PERSISTENT = frozenset({"keep-alive", "Keep-Alive"})

MAX_NOMINATIONS = 9
MAX_NOMINATED_TE = 256

_NEVER_NOMINATED = frozenset({"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"})
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "TRACE", "CONNECT"})


def is_length(text: str) -> bool:
    """1 to 18 digits. isdigit() alone would take a superscript two, but not from ASCII."""
    return len(text) <= 18 and text.isascii() and text.isdigit()


def bad_request(message: str, details: str = "http1.codec_error") -> ProtocolError:
    """Status 400 with Envoy's name of the fault."""
    return ProtocolError(400, details, message)


def may_have_body(method: str) -> bool:
    """Is a body usual for `method`, so that its absence is said by `content-length: 0`? Envoy's list."""
    return method not in _WITHOUT_BODY


def body_length(headers: Headers, allow_chunked_length: bool) -> int:
    """The length in bytes that Content-Length says, or CHUNKED; 0 when neither field is there.

    Removes Transfer-Encoding. Raises ProtocolError in Envoy's order: both fields (400), a Content-Length that is
    repeated, a list or not a number (400), a coding other than `chunked` (501).
    """
    fields = headers.fields
    coding = fields.get("transfer-encoding")
    length = fields.get("content-length")
    if coding is not None and length is not None:
        if not allow_chunked_length:
            raise bad_request("both framings", "http1.content_length_and_chunked_not_allowed")
        headers.remove("content-length")
        length = None
    if length is not None:
        if headers.repeated and len(headers.get_all("content-length")) > 1:
            raise bad_request("repeated Content-Length")
        if not is_length(length):
            raise bad_request("Content-Length is not a number")
        return int(length)
    if coding is None:
        return 0
    if coding.lower() != "chunked" or (headers.repeated and len(headers.get_all("transfer-encoding")) > 1):
        raise ProtocolError(501, "http1.invalid_transfer_encoding", f"Transfer-Encoding {coding[:64]!r}")
    del fields["transfer-encoding"]
    return CHUNKED


def plain_length(fields: dict[str, str]) -> int | None:
    """The length, in the commonest case: a single well-formed Content-Length and no Transfer-Encoding. Else None."""
    length = fields.get("content-length")
    if length is None or "transfer-encoding" in fields or not is_length(length):
        return None
    return int(length)


def request_framing(request: RequestHeaders, allow_chunked_length: bool) -> int:
    """`body_length` of a request, with the rule that CONNECT has no body (RFC 9110 section 9.3.6)."""
    if request.method != "CONNECT":
        return body_length(request, allow_chunked_length)
    if "transfer-encoding" in request.fields:
        raise ProtocolError(501, "http1.invalid_transfer_encoding", "CONNECT with Transfer-Encoding")
    if body_length(request, allow_chunked_length):
        raise bad_request("CONNECT with a body", "http1.body_disallowed")
    return 0


def response_framing(response: ResponseHeaders, method: str, allow_chunked_length: bool) -> int:
    """How the body of the response to a `method` request ends (RFC 9112 section 6.3): a length, CHUNKED or UNTIL_CLOSE.

    Raises ProtocolError also when a response that can't have a body announces one (1xx and 204).
    """
    status = response.status
    fields = response.fields
    if status < 200 or status == 204:
        if "transfer-encoding" in fields:
            raise bad_request("Transfer-Encoding in a 1xx or 204", "http1.transfer_encoding_not_allowed")
        if response.get("content-length", "0") != "0":
            raise bad_request("Content-Length in a 1xx or 204", "http1.content_length_not_allowed")
        response.remove("content-length")
        return 0
    framed = "content-length" in fields or "transfer-encoding" in fields
    length = body_length(response, allow_chunked_length)
    if status == 304 or method == "HEAD":
        return 0
    if method == "CONNECT" and status < 300:
        return UNTIL_CLOSE
    return length if framed else UNTIL_CLOSE


_ORDINARY = frozenset(("close", "keep-alive", "upgrade"))


def connection_options(value: str) -> frozenset[str]:
    """The options of a Connection field, in lower case (RFC 9110 section 7.6.1)."""
    return _remembered_options(value) if len(value) <= _LONGEST_REMEMBERED else _options(value)


def _options(value: str) -> frozenset[str]:
    return frozenset(option for part in value.split(",") if (option := part.strip(" \t").lower()))


_LONGEST_REMEMBERED = 64
_remembered_options = lru_cache(maxsize=256)(_options)


def check_nominations(headers: Headers, options: frozenset[str]) -> None:
    """Refuse what Envoy refuses in Connection: its removal would mask where a request comes from, or flood us.

    Raises ProtocolError (400, `http1.connection_header_rejected`).
    """
    if options <= _ORDINARY:
        return
    if (
        len(options) > MAX_NOMINATIONS
        or not _NEVER_NOMINATED.isdisjoint(options)
        or any(":" in option for option in options)
        or ("te" in options and len(headers.get("te", "") or "") > MAX_NOMINATED_TE)
    ):
        raise bad_request("Connection nominates what it must not", "http1.connection_header_rejected")
    if "host" in options:
        raise bad_request("Connection nominates Host", "missing_host_header")
