"""`envoy.filters.http.basic_auth`: a user name and a password with each request (RFC 7617), kept as in htpasswd files.

Only SHA-1 hashes (`user:{SHA}...`) are understood, as in Envoy. Where the name is passed on in a header, what a client
says under that name is replaced.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from meshproxy.headers import RequestHeaders, check_name
from meshproxy.matching import wire_text
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stats import Counter
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_HASH = "{SHA}"
_SCHEME = "Basic "
_SHA1_BASE64 = 28


@dataclass(frozen=True, slots=True, eq=False)
class BasicAuthConfig:
    """users: name -> the base64 of the password's hash. name_header: where the name is passed on, "" for nowhere.

    credentials_header: where credentials are looked for. realm: "" for the URL that is asked for.
    allows_missing: whoever has no basic credentials passes. tells_name: to others, in the dynamic metadata.
    allowed, denied: None in what a route says.
    """

    users: Mapping[str, str]
    name_header: str = ""
    credentials_header: str = "authorization"
    realm: str = ""
    allows_missing: bool = False
    tells_name: bool = False
    allowed: Counter | None = None
    denied: Counter | None = None


class BasicAuth(HttpFilter[BasicAuthConfig]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> BasicAuthConfig:
        scope = context.stats.scope("basic_auth.")
        return BasicAuthConfig(
            _read_users(view.required("users"), context),
            _read_name(view, "forward_username_header"),
            _read_name(view, "authentication_header") or "authorization",
            _read_realm(view),
            view.boolean("allow_missing"),
            view.boolean("emit_dynamic_metadata"),
            scope.counter("allowed"),
            scope.counter("denied"),
        )

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> BasicAuthConfig:
        """`BasicAuthPerRoute`: other users."""
        return BasicAuthConfig(_read_users(view.required("users"), context), realm=_read_realm(view))

    @classmethod
    def merge_route(cls, base: BasicAuthConfig, route: BasicAuthConfig) -> BasicAuthConfig:
        return replace(base, users=route.users, realm=route.realm or base.realm)

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        config = self.config
        assert config.allowed is not None
        assert config.denied is not None
        credentials = request.get(config.credentials_header)
        if config.allows_missing and (credentials is None or not credentials.startswith(_SCHEME)):
            return None
        name, reason, detail = _check(credentials, config.users)
        if reason:
            config.denied.value += 1
            realm = config.realm or _realm_of(request)
            return LocalReply(
                401,
                f"User authentication failed. {reason}".encode(),
                headers=(("www-authenticate", f'Basic realm="{realm}"'),),
                details=f"{detail}_for_basic_auth",
            )
        if config.name_header:
            request.remove(config.name_header)  # as in Envoy it goes to the end
            request[config.name_header] = name
        if config.tells_name:
            stream.set_metadata(self.context.name, "username", name)
        config.allowed.value += 1
        return None


def _realm_of(request: RequestHeaders) -> str:
    return f"{request.scheme}://{request.authority}{request.path}".replace("\\", "%5C").replace('"', "%22")


def _read_realm(view: ConfigView) -> str:
    return wire_text(view.text("realm")).replace("\\", "\\\\").replace('"', '\\"')


def _check(credentials: str | None, users: Mapping[str, str]) -> tuple[str, str, str]:
    """The name, and for what is refused the reason and its name."""
    if credentials is None:
        return "", "Missing username and password.", "no_credential"
    if not credentials.startswith(_SCHEME):
        return "", "Expected 'Basic' authentication scheme.", "invalid_scheme"
    try:
        decoded = base64.b64decode(credentials[len(_SCHEME) :].encode("latin-1"), validate=True)
    except binascii.Error:
        decoded = b""
    name, colon, password = decoded.partition(b":")
    if not colon:
        return "", "Invalid basic credential format.", "invalid_format"
    known = users.get(name.decode("latin-1"), "")
    given = base64.b64encode(hashlib.sha1(password, usedforsecurity=False).digest()).decode()
    if not hmac.compare_digest(known, given):
        return "", "Invalid username/password combination.", "invalid_credential"
    return name.decode("latin-1"), "", ""


def _read_name(view: ConfigView, field: str) -> str:
    name = view.text(field)
    try:
        return check_name(name) if name else ""
    except ValueError as error:
        view.fail(str(error), field)


def _read_users(view: ConfigView, context: FactoryContext) -> dict[str, str]:
    """An htpasswd file. Raises ConfigError for a line that isn't one."""
    users: dict[str, str] = {}
    data = context.compile_data_source(view)
    if not data:
        view.fail("there are no users")
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        if not line or line.startswith("#"):
            continue
        name, colon, password = line.partition(":")
        if not colon:
            view.fail("basic auth: invalid htpasswd format, username:password is expected")
        if not name or not password:
            view.fail("basic auth: empty user name or password")
        name = wire_text(name)
        if name in users:
            view.fail("basic auth: duplicate users")
        if not password.startswith(_HASH):
            view.fail("basic auth: unsupported htpasswd format: please use {SHA}")
        hashed = password.removeprefix(_HASH)
        if len(hashed) != _SHA1_BASE64 or not hashed.isascii():
            view.fail("basic auth: invalid htpasswd format, invalid SHA hash length")
        users[name] = hashed
    return users
