"""What the authorization server gives for a code or for a refresh token (RFC 6749 sections 4.1.3 and 6)."""

from __future__ import annotations

import base64
from typing import Any

from meshproxy.headers import check_value
from meshproxy.plugin.calls import FetchError, FetchReply
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.secret import LiveSecret
from meshproxy.records import dataclass
from meshproxy_filters.http.asking import Service
from meshproxy_filters.http.jwt_authn.token import Jwt, JwtError, read_json_object
from meshproxy_filters.http.oauth2.assertion import CannotSign, ClientAssertion

_HEADERS = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))
_ASSERTION_TYPE = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
_RESERVED = ":/=&?+"
_MAX_UINT64 = 2**64


class NoTokens(Exception):
    """Its text says why. refused: the server itself said no, or nothing, as it may to a refresh token."""

    def __init__(self, reason: str, more: str = "", *, refused: bool = False) -> None:
        super().__init__(f"{reason}: {more}" if more else reason)
        self.reason = reason
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Tokens:
    """expires_in: seconds, of the access token. "" for a token that isn't there."""

    access: str
    identity: str
    refresh: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """Where and as whom to ask. kind: the name of `AuthType`. secret: None where TLS says who asks."""

    service: Service
    client_id: str
    kind: str
    secret: LiveSecret | None
    assertion: ClientAssertion
    default_expires_in: int

    @property
    def ready(self) -> bool:
        return self.secret is None or bool(self.secret.value)

    async def exchange_code(
        self, code: str, redirect_uri: str, verifier: str, stream: Stream, context: FactoryContext
    ) -> Tokens:
        """code: as the query has it. Raises NoTokens."""
        tail = f"&redirect_uri={_encoded(redirect_uri)}&code_verifier={verifier}"
        return await self._ask(f"grant_type=authorization_code&code={code}", tail, stream, context)

    async def refresh(self, token: str, stream: Stream, context: FactoryContext) -> Tokens:
        """Raises NoTokens."""
        encoded = _encoded(token, "%") if self.kind == "BASIC_AUTH" else _encoded(token)
        return await self._ask(f"grant_type=refresh_token&refresh_token={encoded}", "", stream, context)

    async def _ask(self, form: str, tail: str, stream: Stream, context: FactoryContext) -> Tokens:
        headers, form = self._identify(form, int(context.clock.wall()))
        if stream.clusters.get(self.service.cluster) is None:
            raise NoTokens("Token endpoint cluster not found")
        body = f"{form}{tail}".encode("latin-1", "replace")
        try:
            reply = await self.service.ask(stream, context, "POST", headers=headers, body=body)
        except FetchError as error:
            raise NoTokens("Failed to get access token due to HTTP request failure", refused=True) from error
        return self._read(reply)

    def _identify(self, form: str, now: int) -> tuple[tuple[tuple[str, str], ...], str]:
        """Say who asks, in a header or in the form. Raises NoTokens."""
        secret = b"" if self.secret is None else self.secret.value
        if self.kind == "BASIC_AUTH":
            credentials = base64.b64encode(f"{self.client_id}:".encode("latin-1") + secret).decode()
            return (*_HEADERS, ("authorization", f"Basic {credentials}")), form
        form = f"{form}&client_id={_encoded(self.client_id)}"
        if self.kind == "PRIVATE_KEY_JWT":
            try:
                assertion = self.assertion.make(self.client_id, secret, now)
            except CannotSign as error:
                raise NoTokens("Failed to obtain client credential", str(error)) from error
            return _HEADERS, f"{form}&client_assertion_type={_ASSERTION_TYPE}&client_assertion={assertion}"
        if self.kind == "URL_ENCODED_BODY":
            form = f"{form}&client_secret={_encoded(secret.decode('latin-1'))}"
        return _HEADERS, form

    def _read(self, reply: FetchReply) -> Tokens:
        text = reply.body.decode("latin-1")
        if reply.status != 200:
            more = f"response code: {reply.status}, response body: {text}"
            raise NoTokens("Failed to get access token", more, refused=True)
        answer = read_json_object(reply.body)
        more = f"response body: {text}"
        try:
            if answer is None:
                raise ValueError("no JSON object")
            access, identity, refresh = (_text(answer, name) for name in ("access", "id", "refresh"))
            expires_in = _seconds(answer)
        except ValueError as error:
            raise NoTokens("Failed to parse oauth response body", f"{more}, exception: {error}") from error
        if access is None:
            raise NoTokens("No access token found in the token exchange response", more)
        seconds = self.default_expires_in if expires_in is None else expires_in
        if seconds <= 0:
            reason = "No default or explicit access token expiration found in the token exchange response"
            raise NoTokens(reason, more)
        return Tokens(access, identity or "", refresh or "", seconds)


def _text(answer: dict[str, Any], kind: str) -> str | None:
    """A token that a header can hold; None for none. Raises ValueError."""
    value = answer.get(f"{kind}_token", answer.get(f"{kind}Token"))
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{kind}_token is no text")
    return None if value is None else check_value(value)


def _seconds(answer: dict[str, Any]) -> int | None:
    """`expires_in`, a number or its digits as protobuf takes them; None for none. Raises ValueError."""
    value = answer.get("expires_in", answer.get("expiresIn"))
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 21:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError("expires_in is no whole number")
    if not 0 <= value < _MAX_UINT64:
        raise ValueError("expires_in is out of range")
    return int(value)


def _encoded(text: str, reserved: str = _RESERVED) -> str:
    """Percent-encoded as Envoy does it: control and other bytes from `~` on, and what is reserved."""
    return "".join(
        character if " " <= character < "~" and character not in reserved else f"%{ord(character):02X}"
        for character in text
    )


def lifetime_of(token: str, now: int, otherwise: int) -> int:
    """Seconds that a token says it has left; what isn't a JWT with a date has `otherwise`."""
    try:
        expires = Jwt(token).expires
    except JwtError:
        return otherwise
    return max(expires - now, 0) if expires else otherwise
