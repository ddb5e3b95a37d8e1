"""What a list of decoded fields means as a message, and whether it may be one (RFC 9113 sections 8.2 and 8.3).

An HTTP/2 field can carry what HTTP/1 can't say: a space in a path, a newline in a value, a Host that differs from the
authority. All of it would become another message on the next hop, so it's refused here and nothing needs to think of
it later. What is refused is what Envoy refuses (its nghttp2 and its own checks).

There are two roads, as for HTTP/1. The fast one makes a dict of the list and takes what it needs from it; if anything
is unusual (a repeated name, another pseudo-field, a decoder that is odd) the slow one goes through field by field, and
it alone names faults.
"""

from __future__ import annotations

import re
from itertools import permutations

from meshproxy.codec.field_lines import has_control, is_token
from meshproxy.codec.framing import is_length
from meshproxy.codec.h1_guard import METHODS
from meshproxy.codec.hpack_decode import FORBIDDEN, PSEUDO
from meshproxy.codec.hpack_static import Field
from meshproxy.codec.target import is_host
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Underscores

HOSTS_REMEMBERED = 1024

_is_path = re.compile(r"/[!-~]*").fullmatch
_is_printable = re.compile(r"[!-~\x80-\xff]+").fullmatch
_is_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+\-.]*").fullmatch
_is_status = re.compile(r"[1-9][0-9][0-9]").fullmatch
_SCHEMES = frozenset({"http", "https"})
_FOUR = (":method", ":scheme", ":authority", ":path")
_ORDERS = frozenset(permutations(_FOUR))
_REQUEST_PSEUDO = frozenset({*_FOUR, ":protocol"})
_RESPONSE_PSEUDO = frozenset({":status"})
_NO_PSEUDO: frozenset[str] = frozenset()
# What needs a closer look in trailers, or is refused there; a decoder that isn't odd knows no other pseudo-fields.
_NOT_IN_TRAILERS = PSEUDO | {"content-length", "cookie", "host", "te"}

_hosts: dict[str, None] = {}

_new_request = RequestHeaders.__new__
_new_response = ResponseHeaders.__new__


def violation(message: str, details: str = "http2.violation.of.messaging.rule") -> ProtocolError:
    """A malformed message, with Envoy's name of the fault."""
    return ProtocolError(400, details, message)


def _bad_field(message: str) -> ProtocolError:
    """A field that is malformed whatever else the message has; what is missing is a `violation`."""
    return violation(message, "http2.invalid.header.field")


def read_request(fields: list[Field], odd: bool, underscores: Underscores, connect: bool) -> RequestHeaders:
    """The head of a request. connect: is extended CONNECT (RFC 8441) allowed?

    Extended CONNECT becomes the upgrade that it is in HTTP/1. Raises ProtocolError.
    """
    plain = dict(fields)
    if (
        odd
        or len(plain) != len(fields)
        or len(fields) < 4
        or (fields[0][0], fields[1][0], fields[2][0], fields[3][0]) not in _ORDERS
        or ":protocol" in plain
        or ":status" in plain
    ):
        return _read_request_slowly(fields, underscores, connect)
    request = _new_request(RequestHeaders)
    request.method = method = plain.pop(":method")
    request.path = path = plain.pop(":path")
    request.authority = authority = plain.pop(":authority")
    request.scheme = scheme = plain.pop(":scheme")
    if (
        method not in METHODS
        or method == "CONNECT"
        or _is_path(path) is None
        or scheme not in _SCHEMES
        or (authority not in _hosts and not _remember_host(authority))
        or "host" in plain
        or ("te" in plain and plain["te"] != "trailers")
        or ("content-length" in plain and not is_length(plain["content-length"]))
    ):
        return _read_request_slowly(fields, underscores, connect)
    if "cookie" in plain:
        cookie = plain.pop("cookie")
        if cookie:
            plain["cookie"] = cookie  # at the end, as in `_fill`
    request.fields = plain
    request.repeated = False
    request.written = None
    return request


def read_response(fields: list[Field], odd: bool) -> ResponseHeaders:
    """The head of a response, 1xx included. Raises ProtocolError."""
    plain = dict(fields)
    status = plain.pop(":status", "")
    if (
        odd
        or len(plain) + 1 != len(fields)
        or fields[0][0] != ":status"
        or _is_status(status) is None
        or ":path" in plain
        or ":method" in plain
        or ":scheme" in plain
        or ":authority" in plain
        or ":protocol" in plain
        or "te" in plain
        or ("content-length" in plain and not is_length(plain["content-length"]))
    ):
        return _read_response_slowly(fields)
    response = _new_response(ResponseHeaders)
    response.status = int(status)
    response.fields = plain
    response.repeated = False
    response.written = None
    return response


def read_trailers(fields: list[Field], odd: bool, underscores: Underscores) -> Headers:
    """Trailers: fields without any pseudo-field. Raises ProtocolError."""
    trailers = Headers()
    plain = dict(fields)
    if not odd and len(plain) == len(fields) and _NOT_IN_TRAILERS.isdisjoint(plain):
        trailers.fields = plain
        return trailers
    _fill(trailers, fields, _NO_PSEUDO, underscores)
    if "host" in trailers.fields or "content-length" in trailers.fields:
        raise _bad_field("a trailer that only a head may have")  # RFC 9110 section 6.5.1
    return trailers


def _remember_host(authority: str) -> bool:
    """Is this an authority? The empty one is none here: what it would mean, Host says."""
    if not authority or not is_host(authority):
        return False
    if len(authority) < 256:
        if len(_hosts) >= HOSTS_REMEMBERED:
            _hosts.clear()
        _hosts[authority] = None
    return True


def _fill(headers: Headers, fields: list[Field], allowed: frozenset[str], underscores: Underscores) -> dict[str, str]:
    """Put the fields into `headers`, each one checked; return the pseudo-fields. Raises ProtocolError.

    Crumbs of cookies are joined (section 8.2.3) and go to the end, as in Envoy.
    """
    pseudo: dict[str, str] = {}
    cookie = ""
    late = False
    for name, value in fields:
        if name.startswith(":"):
            if name not in allowed or name in pseudo or late or not value or has_control(value):
                raise _bad_field(f"the pseudo-field {name[:64]!r} is unknown, repeated, empty, too late or malformed")
            pseudo[name] = value
            continue
        late = True
        if is_token(name) is None or name != name.lower() or has_control(value):
            raise _bad_field(f"the field {name[:64]!r} is malformed")
        if name == "content-length" and ("content-length" in headers.fields or not is_length(value)):
            raise _bad_field("content-length is repeated or no number")
        value = value.strip(" \t")
        if name in FORBIDDEN or (name == "te" and value.lower() != "trailers"):
            raise _bad_field(f"the field {name!r} belongs to HTTP/1")
        if underscores != "ALLOW" and "_" in name:
            if underscores == "REJECT_REQUEST":
                raise ProtocolError(400, "http2.unexpected_underscore", f"underscore in {name[:64]!r}")
            continue
        if name == "te" and value != "trailers":
            continue  # Envoy knows it in lower case alone
        if name == "cookie":
            cookie = f"{cookie}; {value}" if cookie else value
        else:
            headers.append_checked(name, value)
    if cookie:
        headers.fields["cookie"] = cookie
    return pseudo


def _read_request_slowly(fields: list[Field], underscores: Underscores, connect: bool) -> RequestHeaders:
    request = RequestHeaders("", "", "", "")
    pseudo = _fill(request, fields, _REQUEST_PSEUDO, underscores)
    request.method = pseudo.get(":method", "")
    if is_token(request.method) is None:
        raise violation("there is no method") if ":method" not in pseudo else _bad_field("the method is no token")
    request.authority = pseudo.get(":authority", "")
    _treat_host(request)
    if request.method == "CONNECT" and ":protocol" not in pseudo:
        if ":path" in pseudo or ":scheme" in pseudo or ":authority" not in pseudo:
            raise violation("CONNECT has an authority, and neither path nor scheme")
        return request
    request.path = pseudo.get(":path", "")
    request.scheme = pseudo.get(":scheme", "").lower()
    if _is_scheme(request.scheme) is None:
        raise violation("there is no scheme") if not request.scheme else _bad_field("the scheme is none")
    if _is_path(request.path) is None and (request.path != "*" or request.method != "OPTIONS"):
        if request.path and _is_printable(request.path) is None:
            raise _bad_field("a path has no such bytes")
        raise violation("there is no path, or it is no path")
    if ":authority" not in pseudo and not request.authority:
        raise violation("there is neither an authority nor a Host")
    if ":protocol" in pseudo:
        protocol = pseudo[":protocol"]
        if not connect or request.method != "CONNECT" or is_token(protocol) is None:
            fault = _bad_field if not connect or request.method == "CONNECT" else violation
            raise fault("a protocol without an extended CONNECT, or where none is allowed")
        request.method = "GET"
        request["upgrade"] = protocol
        request["connection"] = "upgrade"
    return request


def _treat_host(request: RequestHeaders) -> None:
    """Host counts only where there is no authority, as in Envoy; the authority must be one."""
    hosts = request.get_all("host")
    if len(hosts) > 1:
        raise _bad_field("Host is repeated")
    if hosts:
        if not hosts[0] or not is_host(hosts[0]):
            raise _bad_field("Host is none")
        request.remove("host")
        if not request.authority:
            request.authority = hosts[0]
    if not is_host(request.authority):
        raise _bad_field("the authority is none")


def _read_response_slowly(fields: list[Field]) -> ResponseHeaders:
    response = ResponseHeaders()
    pseudo = _fill(response, fields, _RESPONSE_PSEUDO, "ALLOW")
    status = pseudo.get(":status", "")
    if _is_status(status) is None:
        raise violation("there is no status, or it is none")
    response.status = int(status)
    return response
