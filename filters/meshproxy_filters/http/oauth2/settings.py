"""What an OAuth 2 filter is told, as its parts use it; `config` reads it."""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.headers import RequestHeaders
from meshproxy.matching import HeaderMatcher
from meshproxy.model.listener import LineFormatter
from meshproxy.records import dataclass
from meshproxy_filters.http.oauth2.cookies import Chunking, Cookie
from meshproxy_filters.http.oauth2.query import Query
from meshproxy_filters.http.oauth2.sealing import Sealer
from meshproxy_filters.http.oauth2.stats import OAuth2Stats
from meshproxy_filters.http.oauth2.tokens import TokenEndpoint


@dataclass(frozen=True, slots=True)
class CookieSet:
    """domain: that all of them are for, "" for the host that was asked."""

    domain: str
    signature: Cookie
    expires: Cookie
    access: Cookie
    identity: Cookie
    refresh: Cookie
    nonce: Cookie
    verifier: Cookie

    @property
    def tokens(self) -> tuple[Cookie, Cookie, Cookie]:
        return self.access, self.identity, self.refresh


@dataclass(frozen=True, slots=True)
class Kept:
    """Which tokens a browser is given, and for how many seconds where they don't say it. sealed: encrypted."""

    access: bool
    identity: bool
    refresh: bool
    refresh_seconds: int
    identity_as_access: bool
    sealed: bool
    chunking: Chunking | None


@dataclass(frozen=True, slots=True)
class Authorization:
    """The server that browsers are sent to. url: without its query; parameters: of that, as they are sent."""

    url: str
    parameters: Query
    resources: str
    redirect_uri: LineFormatter
    own_uri: LineFormatter | None
    domains: tuple[str, ...]
    nonce_seconds: int
    verifier_seconds: int


@dataclass(frozen=True, slots=True)
class SignOut:
    """endpoint: of the server's own sign-out, "" for none. back: None for the root of the host that was asked."""

    matches: Callable[[str], bool]
    endpoint: str
    tells_back: bool
    back: LineFormatter | None


@dataclass(frozen=True, slots=True, eq=False)
class OAuth2Config:
    """uses_refresh: whether a refresh token of a browser is of use. identity_header: that the id token goes on in."""

    stats: OAuth2Stats
    endpoint: TokenEndpoint
    sealer: Sealer
    cookies: CookieSet
    kept: Kept
    authorization: Authorization
    sign_out: SignOut
    is_callback: Callable[[str], bool]
    passes: tuple[HeaderMatcher, ...]
    denies_redirect: tuple[HeaderMatcher, ...]
    allows_failure: tuple[HeaderMatcher, ...]
    uses_refresh: bool
    forwards_access: bool
    identity_header: str
    keeps_authorization: bool


def matches_any(matchers: tuple[HeaderMatcher, ...], request: RequestHeaders) -> bool:
    return any(matches(request) for matches in matchers)
