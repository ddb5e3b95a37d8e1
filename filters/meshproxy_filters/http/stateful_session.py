"""`envoy.filters.http.stateful_session`: brings a client back to the host that answered it before.

The host's address stands in a cookie or a field that the client sends back, or in an envelope: around the value of a
field that the hosts themselves use for their sessions, which they get without it. The load balancer is overridden as
long as that host is in the cluster and healthy; otherwise another one is chosen, or with `strict` none is. A client
that was answered by another host than it asked for is told the new address.

The cookie holds the protobuf message `envoy.Cookie` {address, expires} in base64, as Envoy writes it, so that proxies
of both kinds can stand behind one address. Addresses come from clients: they choose among the cluster's hosts only.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from meshproxy.cookies import parse_cookies
from meshproxy.headers import RequestHeaders, ResponseHeaders, check_value
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_NAMES = tuple(f"envoy.http.stateful_session.{kind}" for kind in ("cookie", "header", "envelope"))
_COOKIE = "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState"
_HEADER = "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState"
_ENVELOPE = "envoy.extensions.http.stateful_session.envelope.v3.EnvelopeSessionState"
_VALUE = "UV:"
"""What stands before a host's own value in an envelope."""


class SessionStats:
    """`stateful_session.<stat_prefix>.`; Envoy: "Stateful session: statistics"."""

    def __init__(self, scope: StatsScope) -> None:
        self.routed = scope.counter("routed")
        self.failed_open = scope.counter("failed_open")
        self.failed_closed = scope.counter("failed_closed")
        self.no_session = scope.counter("no_session")


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """name: of the cookie, or of the field. cookie: it is one. status: that a client is told where its
    host isn't there, 0 for the usual. path, ttl (seconds), attributes: of the cookie. envelope: the field is one of
    hosts. stats: None where they aren't asked for."""

    name: str
    cookie: bool
    strict: bool
    status: int
    path: str = ""
    ttl: int = 0
    attributes: str = ""
    envelope: bool = False
    stats: SessionStats | None = None

    def holds_for(self, path: str) -> bool:
        """Whether a cookie with our path is for this request (RFC 6265 section 5.1.4)."""
        own = self.path
        if own in ("", "/"):
            return True
        bare = path.partition("?")[0]
        return bare.startswith(own) and (own.endswith("/") or len(bare) == len(own) or bare[len(own)] == "/")


OFF = SessionConfig("", False, False, 0)


class StatefulSession(HttpFilter[SessionConfig]):
    """See the module. Its configuration is `OFF` where no session is configured, or a route says so."""

    _holds: bool = False
    _asked: str = ""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> SessionConfig:
        return _read(view, context)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> SessionConfig:
        """`StatefulSessionPerRoute`."""
        if view.which("override") == "disabled":
            view.boolean("disabled")
            return OFF
        return _read(view.required("stateful_session"), context)

    @classmethod
    def is_active(cls, config: SessionConfig) -> bool:
        return config is not OFF

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        config = self.config
        if not config.holds_for(request.path):
            if config.stats is not None:
                config.stats.no_session.value += 1
            return
        self._holds = True
        value = parse_cookies(request).get(config.name) if config.cookie else request.get(config.name)
        if value and config.envelope:
            self._asked = _open(value, config.name, request)
        elif value:
            self._asked = read_address(value, self.context.clock.wall(), cookie=config.cookie)
        if self._asked:
            stream.lb_override = self._asked
            stream.lb_override_strict = config.strict
            stream.lb_override_status = config.status

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        config, host = self.config, stream.upstream_host
        if not self._holds:
            return
        stats = config.stats
        if not host:
            if stats is not None and config.strict and self._asked:
                stats.failed_closed.value += 1
            return
        told = self._tell(response, host)
        if stats is not None and not told:
            stats.routed.value += 1
        elif stats is not None and not config.strict:
            stats.failed_open.value += 1

    def _tell(self, response: ResponseHeaders, host: str) -> bool:
        """Tell the client of the host, if it doesn't know. Returns whether it was told."""
        config = self.config
        if config.envelope:
            return _close(response, config.name, host)
        if host == self._asked:
            return False
        if not config.cookie:
            response[config.name] = base64.b64encode(host.encode()).decode()
            return True
        expires = int(self.context.clock.wall()) + config.ttl if config.ttl else 0
        parts = [f'{config.name}="{write_address(host, expires)}"']
        if config.ttl:
            parts.append(f"Max-Age={config.ttl}")
        if config.path:
            parts.append(f"Path={config.path}")
        response.append_checked("set-cookie", "; ".join(parts) + config.attributes + "; HttpOnly")
        return True


def _open(value: str, name: str, request: RequestHeaders) -> str:
    """The address in an envelope, whose field gets the host's own value back; "" for what is none."""
    address, *others = [part for part in value.split(";") if part] or [""]
    own = next((part.removeprefix(_VALUE) for part in others if part.startswith(_VALUE)), "")
    try:
        decoded = base64.b64decode(own, validate=True).decode("latin-1")
        if not decoded:
            return ""
        check_value(decoded)
        request.remove(name)  # as below
        request[name] = decoded
        return base64.b64decode(address, validate=True).decode("ascii")
    except ValueError:
        return ""


def _close(response: ResponseHeaders, name: str, host: str) -> bool:
    """Put the value of the host's field into an envelope, if it stands there once."""
    values = response.get_all(name)
    if len(values) != 1:
        return False
    address, own = (base64.b64encode(each).decode() for each in (host.encode(), values[0].encode("latin-1")))
    response.remove(name)  # as in Envoy it goes to the end
    response[name] = f"{address};{_VALUE}{own}"
    return True


def write_address(address: str, expires: int) -> str:
    """`envoy.Cookie` {string address = 1; uint64 expires = 2} in base64. expires: seconds since 1970, 0 for never."""
    data = address.encode()
    message = b"\x0a" + _varint(len(data)) + data
    if expires:
        message += b"\x10" + _varint(expires)
    return base64.b64encode(message).decode()


def read_address(value: str, now: float, *, cookie: bool) -> str:
    """The address in what a client sends back; "" for anything else, and for a cookie that has expired."""
    try:
        data = base64.b64decode(value, validate=True)
        if not cookie:
            return data.decode("ascii")
        fields = _fields(data)
        expires = fields.get(2, 0)
        if isinstance(expires, int) and expires and expires < now:
            return ""
        address = fields.get(1, b"")
        return address.decode("ascii") if isinstance(address, bytes) else ""
    except (binascii.Error, ValueError):
        return ""


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _fields(data: bytes) -> dict[int, int | bytes]:
    """The fields of a message of varints and byte strings. Raises ValueError."""
    fields: dict[int, int | bytes] = {}
    position = 0

    def varint() -> int:
        nonlocal position
        number = 0
        for shift in range(0, 64, 7):
            if position >= len(data):
                raise ValueError("cut")
            byte = data[position]
            position += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ValueError("too long")

    while position < len(data):
        key = varint()
        if key & 7 == 0:
            fields[key >> 3] = varint()
        elif key & 7 == 2:
            size = varint()
            if position + size > len(data):
                raise ValueError("cut")
            fields[key >> 3] = data[position : position + size]
            position += size
        else:
            raise ValueError("another kind of field")
    return fields


def _read(view: ConfigView, context: FactoryContext) -> SessionConfig:
    prefix = view.text("stat_prefix")
    stats = SessionStats(context.stats.scope(f"stateful_session.{prefix}.")) if prefix else None
    strict, status = view.boolean("strict"), view.integer("status_on_strict_destination_not_found")
    state = view.view("session_state")
    if state is None:
        return OFF
    if state.text("name") not in _NAMES:  # by which Envoy finds them
        state.fail(f"the kinds of session are {', '.join(_NAMES)}", "name")
    typed = state.any("typed_config")
    if typed is None:
        state.fail("'typed_config' is required: a kind of session is found by the type of its configuration")
    if typed.full_name == _HEADER:
        return SessionConfig(typed.message(_HEADER).text("name").lower(), False, strict, status, stats=stats)
    if typed.full_name == _ENVELOPE:
        name = typed.message(_ENVELOPE).required("header").text("name").lower()
        return SessionConfig(name, False, strict, status, envelope=True, stats=stats)
    cookie = typed.message(_COOKIE).required("cookie")
    attributes = "".join(
        [
            f"; {each.text('name')}" + (f"={each.text('value')}" if each.text("value") else "")
            for each in cookie.views("attributes")
        ]
    )
    try:
        check_value(attributes + cookie.text("path") + cookie.text("name"))
    except ValueError as error:
        cookie.fail(str(error))
    return SessionConfig(
        cookie.text("name"),
        True,
        strict,
        status,
        cookie.text("path"),
        int(cookie.seconds("ttl", 0.0)),
        attributes,
        stats=stats,
    )
