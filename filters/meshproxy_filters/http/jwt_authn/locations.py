"""Where tokens are looked for in a request, and how they are taken out of it again.

Theory (Envoy's Extractor): of all places that the providers name, in the order of header names, then of query
parameters, then of cookies, each one that holds something gives a token. A place belongs to the issuers of the
providers that named it; a token of another issuer found there is not accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from meshproxy.cookies import parse_cookies
from meshproxy.headers import RequestHeaders
from meshproxy.matching import decode_query, wire_text
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


@dataclass(frozen=True, slots=True)
class Places:
    """What one provider names. headers: (lower-case name, prefix of the value)."""

    headers: tuple[tuple[str, str], ...]
    params: tuple[str, ...]
    cookies: tuple[str, ...]

    @classmethod
    def read(cls, view: ConfigView) -> Places:
        """`from_headers`, `from_params` and `from_cookies`; without any, where RFC 6750 puts tokens."""
        headers = tuple(
            (wire_text(entry.text("name").lower()), wire_text(entry.text("value_prefix")))
            for entry in view.views("from_headers")
        )
        params = tuple(map(wire_text, view.texts("from_params")))
        cookies = tuple(map(wire_text, view.texts("from_cookies")))
        if not headers and not params and not cookies:
            return cls((("authorization", "Bearer "),), ("access_token",), ())
        return cls(headers, params, cookies)


@dataclass(frozen=True, slots=True)
class Token:
    """A token as found. issuers: those that the place is for, "" among them for any."""

    text: str
    issuers: frozenset[str]
    remove: Callable[[RequestHeaders], None]

    def may_be_of(self, issuer: str) -> bool:
        return "" in self.issuers or issuer in self.issuers


_Remover = Callable[[RequestHeaders], None]


@dataclass(frozen=True, slots=True)
class Extractor:
    """The places of one or more providers, each with the issuers that it is for and how a token is removed from it.

    headers: name, prefix of the value, and these two. params, cookies: name, and these two.
    """

    headers: tuple[tuple[str, str, frozenset[str], _Remover], ...]
    params: tuple[tuple[str, frozenset[str], _Remover], ...]
    cookies: tuple[tuple[str, frozenset[str], _Remover], ...]

    @classmethod
    def of(cls, providers: Iterable[tuple[str, Places]]) -> Extractor:
        """providers: issuer and places of each."""
        headers: dict[tuple[str, str], set[str]] = {}
        params: dict[str, set[str]] = {}
        cookies: dict[str, set[str]] = {}
        for issuer, places in providers:
            for header in places.headers:
                headers.setdefault(header, set()).add(issuer)
            for param in places.params:
                params.setdefault(param, set()).add(issuer)
            for cookie in places.cookies:
                cookies.setdefault(cookie, set()).add(issuer)
        return cls(
            tuple((*key, frozenset(headers[key]), _header_remover(key[0])) for key in sorted(headers, key="".join)),
            tuple((name, frozenset(issuers), _param_remover(name)) for name, issuers in sorted(params.items())),
            tuple((name, frozenset(issuers), _keep) for name, issuers in sorted(cookies.items())),
        )

    def extract(self, request: RequestHeaders) -> list[Token]:
        """Every token in the request."""
        tokens: list[Token] = []
        for name, prefix, issuers, remove in self.headers:
            for text in _values(request, name):
                if (found := _behind_prefix(text, prefix)) is not None:
                    tokens.append(Token(found, issuers, remove))
        if self.params and "?" in request.path:
            query = decode_query(request.path)
            for param, issuers, remove in self.params:
                if param in query:
                    tokens.append(Token(query[param], issuers, remove))
        if self.cookies and "cookie" in request.fields:
            cookies = parse_cookies(request)
            for cookie, issuers, remove in self.cookies:
                if cookie in cookies:
                    tokens.append(Token(cookies[cookie], issuers, remove))
        return tokens


def _behind_prefix(value: str, prefix: str) -> str | None:
    """What stands behind a prefix, which may stand anywhere, from its first possible character; None without it."""
    if not prefix:
        return value
    position = value.find(prefix)
    if position < 0:
        return None
    start = position + len(prefix)
    while start < len(value) and value[start] not in _CHARACTERS:
        start += 1
    return value[start:] or value


def _values(request: RequestHeaders, name: str) -> list[str]:
    """The values of a field. Several lines of Authorization are one value, joined: Envoy joins them as they come in."""
    if name == "authorization":
        value = request.get(name)
        return [] if value is None else [value]
    return request.get_all(name)


def _header_remover(name: str) -> Callable[[RequestHeaders], None]:
    def remove(request: RequestHeaders) -> None:
        request.remove(name)

    return remove


def _param_remover(name: str) -> Callable[[RequestHeaders], None]:
    def remove(request: RequestHeaders) -> None:
        path, _, query = request.path.partition("?")
        kept = [pair for pair in query.split("&") if unquote(pair.partition("=")[0], "latin-1") != name]
        request.path = f"{path}?{'&'.join(kept)}" if kept else path

    return remove


def _keep(request: RequestHeaders) -> None:
    """As in Envoy a token in a cookie stays there: it is the session of a browser, not of this hop."""
