"""A login: what a browser is given once there are tokens, and what it has to show for it afterwards.

The signature covers the host (or the domain of the cookies), the time until which the login holds, and the tokens.
"""

from __future__ import annotations

from meshproxy.cookies import parse_cookies
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.records import dataclass
from meshproxy_filters.http.oauth2.cookies import (
    Cookie,
    Held,
    TooLong,
    delete_chunks,
    set_token,
    take_chunks,
    write_cookies,
)
from meshproxy_filters.http.oauth2.settings import OAuth2Config
from meshproxy_filters.http.oauth2.tokens import Tokens, lifetime_of


class Browser:
    """What the browser that has sent a request holds. cookies: with its tokens whole and readable."""

    def __init__(self, request: RequestHeaders, config: OAuth2Config) -> None:
        """Reads the cookies, and writes them into the request anew where tokens had to be put together or opened."""
        self._config = config
        self.host = request.authority
        self.cookies = parse_cookies(request)
        self.held: list[Held] = []
        changed = False
        for cookie in config.cookies.tokens:
            changed |= self._take(cookie)
        if changed:
            write_cookies(request, self.cookies)

    def _take(self, cookie: Cookie) -> bool:
        cookies, stats = self.cookies, self._config.stats
        held, joined = take_chunks(cookies, cookie.name)
        self.held.append(held)
        if joined is not None:
            (stats.reassembled if joined else stats.malformed_chunks).value += 1
        token = cookies.get(cookie.name)
        if token and self._config.kept.sealed:
            cookies[cookie.name] = self._config.sealer.open_token(token)
            return True
        return joined is not None

    def token(self, cookie: Cookie) -> str:
        return self.cookies.get(cookie.name, "")

    def is_logged_in(self, now: float) -> bool:
        """now: seconds since 1970."""
        config = self._config
        expires, tokens = self.token(config.cookies.expires), map(self.token, config.cookies.tokens)
        signed = signed_text(config, self.host, expires, *tokens)
        if not config.sealer.is_signed(signed, self.token(config.cookies.signature)):
            return False
        return expires.isascii() and expires.isdigit() and len(expires) < 20 and int(expires) > now

    def of_flow(self, cookie: Cookie, flow_id: str) -> str:
        return self.token(cookie) if not (own := self.cookies.get(f"{cookie.name}.{flow_id}")) else own

    def forget(self, request: RequestHeaders, *, tokens: bool = False) -> None:
        """Take out of a request what hosts aren't to see. tokens: the access and id tokens as well."""
        cookies, own = self.cookies, self._config.cookies
        if not cookies:
            return
        for cookie in (own.signature, own.expires, own.refresh, *((own.access, own.identity) if tokens else ())):
            cookies.pop(cookie.name, None)
        for cookie in (own.nonce, own.verifier):
            for suffix in list(cookie.names_of_flows(list(cookies))):
                del cookies[f"{cookie.name}{suffix}"]
        write_cookies(request, cookies)


def signed_text(config: OAuth2Config, host: str, *values: str) -> str:
    return "\n".join((config.cookies.domain or host, *values))


@dataclass(frozen=True, slots=True)
class Login:
    """expires: seconds since 1970, as digits. seconds: how long that is. parts, lifetimes: of the three tokens."""

    signature: str
    expires: str
    seconds: int
    access: str
    identity: str
    parts: tuple[list[str], ...]
    lifetimes: tuple[int, int, int]

    def tell(self, response: ResponseHeaders, browser: Browser, config: OAuth2Config) -> None:
        """Give the cookies to the browser."""
        own = config.cookies
        own.signature.set(response, self.signature, self.seconds)
        own.expires.set(response, self.expires, self.seconds)
        for cookie, parts, seconds, held in zip(own.tokens, self.parts, self.lifetimes, browser.held, strict=True):
            set_token(cookie, response, parts, seconds, held)
            if len(parts) > 1:
                config.stats.chunked.value += 1


def make_login(config: OAuth2Config, tokens: Tokens, browser: Browser, now: float, *, again: bool = False) -> Login:
    """now: seconds since 1970. again: by a refresh token, which stays if there isn't another. Raises TooLong."""
    kept = config.kept
    access, identity, refresh = (
        token if wanted else ""
        for token, wanted in (
            (tokens.access, kept.access),
            (tokens.identity, kept.identity),
            (tokens.refresh, kept.refresh),
        )
    )
    if again and not refresh:
        refresh = browser.token(config.cookies.refresh)
    seconds, moment = tokens.expires_in, int(now)
    lifetimes = (
        seconds,
        seconds if kept.identity_as_access else lifetime_of(tokens.identity, moment, seconds),
        lifetime_of(tokens.refresh, moment, kept.refresh_seconds) if config.uses_refresh else seconds,
    )
    expires = str(int(now + seconds))
    try:
        parts = tuple(
            _parts(config, cookie, token, lifetime)
            for cookie, token, lifetime in zip(
                config.cookies.tokens, (access, identity, refresh), lifetimes, strict=True
            )
        )
    except TooLong:
        config.stats.oversized.value += 1
        raise
    signature = config.sealer.sign(signed_text(config, browser.host, expires, access, identity, refresh))
    return Login(signature, expires, seconds, access, identity, parts, lifetimes)


def _parts(config: OAuth2Config, cookie: Cookie, token: str, seconds: int) -> list[str]:
    if not token:
        return []
    value = config.sealer.seal(token) if config.kept.sealed else token
    chunking = config.kept.chunking
    return [value] if chunking is None else chunking.split(cookie, value, seconds)


def end_flow(response: ResponseHeaders, config: OAuth2Config, flow_id: str) -> None:
    """Take from the browser what guarded one flow."""
    for cookie in (config.cookies.nonce, config.cookies.verifier):
        if flow_id:
            cookie.delete(response, f".{flow_id}")
        cookie.delete(response)


def end_login(response: ResponseHeaders, browser: Browser, config: OAuth2Config) -> None:
    """Take everything from the browser."""
    own = config.cookies
    for cookie in (own.signature, own.access, own.identity, own.refresh, own.expires):
        cookie.delete(response)
    for cookie in (own.nonce, own.verifier):
        for suffix in cookie.names_of_flows(list(browser.cookies)):
            cookie.delete(response, suffix)
    for cookie, held in zip(own.tokens, browser.held, strict=True):
        delete_chunks(cookie, response, held)
