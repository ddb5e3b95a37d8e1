"""`envoy.filters.http.api_key_auth`: a key with each request, in a header, a query parameter or a cookie.

The sources are asked in order and the first that has something decides. With `hide_credentials` a request that passes
loses what stands in any of them; the rest of its query and of its cookies stays as it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote

from meshproxy.cookies import parse_cookies
from meshproxy.headers import RequestHeaders, check_name
from meshproxy.matching import wire_text
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stats import Counter
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_BEARER = "Bearer "


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where a key may stand. find: "" for no key there. hide: takes it out of a request."""

    find: Callable[[RequestHeaders], str]
    hide: Callable[[RequestHeaders], None]


@dataclass(frozen=True, slots=True)
class Forwarding:
    """header: where the client's name is passed on, "" for nowhere."""

    header: str = ""
    hide: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Counters:
    allowed: Counter
    unauthorized: Counter
    forbidden: Counter


@dataclass(frozen=True, slots=True, eq=False)
class ApiKeyAuthConfig:
    """clients: key -> name. allowed: the names that may pass, empty for all. counters: None in what a route says."""

    clients: Mapping[str, str]
    sources: tuple[Source, ...]
    forwarding: Forwarding | None
    allowed: frozenset[str] = frozenset()
    counters: Counters | None = None


class ApiKeyAuth(HttpFilter[ApiKeyAuthConfig]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> ApiKeyAuthConfig:
        scope = context.stats.scope("api_key_auth.")
        counters = Counters(scope.counter("allowed"), scope.counter("unauthorized"), scope.counter("forbidden"))
        return replace(_read(view), counters=counters)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> ApiKeyAuthConfig:
        """`ApiKeyAuthPerRoute`: keys and sources that it doesn't say the filter says."""
        allowed = frozenset(wire_text(name) for name in view.texts("allowed_clients"))
        return replace(_read(view), allowed=allowed)

    @classmethod
    def merge_route(cls, base: ApiKeyAuthConfig, route: ApiKeyAuthConfig) -> ApiKeyAuthConfig:
        return replace(
            base,
            clients=route.clients or base.clients,
            sources=route.sources or base.sources,
            forwarding=route.forwarding,
            allowed=route.allowed,
        )

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        config = self.config
        counters = config.counters
        assert counters is not None
        key = next((found for source in config.sources if (found := source.find(request))), "")
        reason = _missing(config, key)
        client = config.clients.get(key)
        if reason or client is None:
            counters.unauthorized.value += 1
            return LocalReply(401, b"Client authentication failed.", details=reason or "unknown_api_key")
        if config.allowed and client not in config.allowed:
            counters.forbidden.value += 1
            return LocalReply(403, b"Client is forbidden.", details="client_not_allowed")
        forwarding = config.forwarding
        if forwarding is not None:
            if forwarding.header:
                request.remove(forwarding.header)  # as in Envoy it goes to the end
                request[forwarding.header] = client
            if forwarding.hide:
                for source in config.sources:
                    source.hide(request)
        counters.allowed.value += 1
        return None


def _missing(config: ApiKeyAuthConfig, key: str) -> str:
    if not config.clients:
        return "missing_credentials"
    if not config.sources:
        return "missing_key_sources"
    return "" if key else "missing_api_key"


def _of_header(name: str) -> Source:
    def find(request: RequestHeaders) -> str:
        return request.fields.get(name, "").removeprefix(_BEARER)

    def hide(request: RequestHeaders) -> None:
        request.remove(name)

    return Source(find, hide)


def _of_query(name: str) -> Source:
    def is_named(field: str) -> bool:
        return unquote(field.partition("=")[0], "latin-1") == name

    def find(request: RequestHeaders) -> str:
        query = request.path.partition("?")[2].partition("#")[0]
        value = next((field.partition("=")[2] for field in query.split("&") if is_named(field)), "")
        return unquote(value, "latin-1")

    def hide(request: RequestHeaders) -> None:
        path, mark, query = request.path.partition("?")
        if mark:
            kept = "&".join([field for field in query.split("&") if not is_named(field)])
            request.path = f"{path}?{kept}" if kept else path

    return Source(find, hide)


def _of_cookie(name: str) -> Source:
    def find(request: RequestHeaders) -> str:
        return parse_cookies(request).get(name, "")

    def hide(request: RequestHeaders) -> None:
        cookies = request.get_all("cookie")
        if not cookies:
            return
        pairs = [pair.strip(" \t") for value in cookies for pair in value.split(";")]
        kept = "; ".join([pair for pair in pairs if pair and pair.partition("=")[0].strip(" \t") != name])
        request.remove("cookie")
        if kept:
            request["cookie"] = kept

    return Source(find, hide)


def _read(view: ConfigView) -> ApiKeyAuthConfig:
    clients: dict[str, str] = {}
    for entry in view.views("credentials"):
        key = wire_text(entry.text("key"))
        if key in clients:
            entry.fail(f"Duplicated credential key: '{entry.text('key')}'", "key")
        clients[key] = wire_text(entry.text("client"))
    forwarding = view.view("forwarding")
    return ApiKeyAuthConfig(
        clients,
        _read_sources(view.views("key_sources")),
        _read_forwarding(forwarding) if forwarding is not None else None,
    )


def _read_forwarding(view: ConfigView) -> Forwarding:
    return Forwarding(_name(view, "header") if view.has("header") else "", view.boolean("hide_credentials"))


def _name(view: ConfigView, field: str) -> str:
    try:
        return check_name(view.text(field))
    except ValueError as error:
        view.fail(str(error), field)


def _read_sources(views: Sequence[ConfigView]) -> tuple[Source, ...]:
    sources = []
    for view in views:
        if view.has("header"):
            view.text("query"), view.text("cookie")
            sources.append(_of_header(_name(view, "header")))
        elif view.has("query"):
            view.text("cookie")
            sources.append(_of_query(wire_text(view.text("query"))))
        elif view.has("cookie"):
            sources.append(_of_cookie(wire_text(view.text("cookie"))))
        else:
            view.fail("One of 'header'/'query'/'cookie' must be set.")
    return tuple(sources)
