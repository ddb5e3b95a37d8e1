"""`envoy.filters.http.compressor`: compresses responses for clients that accept it, and requests where asked for.

Several of them may stand in one chain, one for each encoding; they decide together which of them acts. What is under
way is flushed with each piece of body, so nothing waits in the compressor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.matching import StringMatcher
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass
from meshproxy.runtime_values import ON, Live
from meshproxy_filters.compression import Compressor
from meshproxy_filters.compression_libraries import CompressorLibrary, compile_compressor
from meshproxy_filters.http.accept_encoding import choose_encoding

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_CHAIN = "envoy.filters.http.compressor.chain"
_MIN_LENGTH = 30
_TYPES = (
    "text/html text/plain text/css application/javascript application/x-javascript text/javascript text/x-javascript "
    "text/ecmascript text/js text/jscript text/x-js application/ecmascript application/x-json application/xml "
    "application/json image/svg+xml text/xml application/xhtml+xml application/grpc-web "
    "application/grpc-web+proto"
)
_OFF, _OFF_LIMITS, _TOO_SMALL = "off", "off limits", "ContentLengthTooSmall"
_CONTENT_TYPES = frozenset(_TYPES.split())


class DirectionStats:
    """Of one direction; Envoy: "Compressor: statistics"."""

    def __init__(self, scope: StatsScope) -> None:
        self.compressed = scope.counter("compressed")
        self.not_compressed = scope.counter("not_compressed")
        self.uncompressed_bytes = scope.counter("total_uncompressed_bytes")
        self.compressed_bytes = scope.counter("total_compressed_bytes")
        self.too_small = scope.counter("content_length_too_small")


class ResponseStats(DirectionStats):
    """And those about what clients accept, which never say a direction, as in Envoy."""

    def __init__(self, direction: StatsScope, scope: StatsScope) -> None:
        super().__init__(direction)
        self.no_accept_header = scope.counter("no_accept_header")
        self.identity = scope.counter("header_identity")
        self.used = scope.counter("header_compressor_used")
        self.overshadowed = scope.counter("header_compressor_overshadowed")
        self.wildcard = scope.counter("header_wildcard")
        self.not_valid = scope.counter("header_not_valid")
        self.not_compressed_etag = scope.counter("not_compressed_etag")


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """enabled: None for never. min_length: of a `content-length`. types: of contents compressed; () for all.
    type_matchers: in place of `types`, where there are any."""

    enabled: Live[bool] | None
    min_length: int
    types: frozenset[str]
    type_matchers: tuple[StringMatcher, ...] = ()

    @property
    def on(self) -> bool:
        """Whether it is in force now."""
        return self.enabled is not None and self.enabled.value

    def long_enough(self, message: Headers, stats: DirectionStats) -> bool:
        length = message.get("content-length")
        if length is None or int(length) >= self.min_length:
            return True
        stats.too_small.value += 1
        return False

    def type_allowed(self, message: Headers) -> bool:
        kind = message.get("content-type")
        if kind is None:
            return True
        kind = kind.partition(";")[0].strip()
        if self.type_matchers:
            return any(matches(kind) for matches in self.type_matchers)
        return not self.types or kind.lower() in self.types


@dataclass(frozen=True, slots=True, eq=False)
class CompressorConfig:
    """library, and whether it wins among equals (`first`). remove_accept: the upstream isn't told what is accepted.

    tell_status: `x-envoy-compression-status` says what became of a response.
    """

    library: CompressorLibrary
    first: bool
    request: Direction
    request_stats: DirectionStats
    response: Direction
    response_stats: ResponseStats
    weakens_etag: bool
    not_with_etag: bool
    remove_accept: bool
    uncompressible: frozenset[int]
    tell_status: bool


@dataclass(frozen=True, slots=True, eq=False)
class RouteOverride:
    """What a route says: `off`, or the rest."""

    off: bool = False
    response_on: bool = False
    remove_accept: bool | None = None
    library: CompressorLibrary | None = None


class ResponseCompressing(HttpFilter[CompressorConfig]):
    """A `Compressing` that is asked to compress no requests: it has no part in their bodies."""

    _accepted: str | None = None
    _request: Compressor | None = None
    _response: Compressor | None = None
    _chain: list[CompressorConfig] | None = None

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> CompressorConfig:
        return _read(view, context)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> CompressorConfig:
        """`CompressorPerRoute`; `merge_route` puts it together with the filter's own."""
        return _read_route(view)  # type: ignore[return-value]  # never used before it is merged

    @classmethod
    def merge_route(cls, base: CompressorConfig, route: CompressorConfig) -> CompressorConfig:
        override = route
        assert isinstance(override, RouteOverride)
        response = base.response
        if override.off or override.response_on:
            response = replace(response, enabled=None if override.off else ON)
        return replace(
            base,
            response=response,
            remove_accept=base.remove_accept if override.remove_accept is None else override.remove_accept,
            library=override.library or base.library,
        )

    @classmethod
    def for_config(cls, config: CompressorConfig) -> type[ResponseCompressing]:
        return Compressing if config.request.enabled is not None else ResponseCompressing

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        config = self.config
        self._accepted = request.get("accept-encoding")
        if self._accepted is not None:
            self._join(stream)
            if config.remove_accept and config.response.on:
                request.remove("accept-encoding")
        direction, stats = config.request, config.request_stats
        if (
            direction.on
            and not stream.request_end
            and direction.long_enough(request, stats)
            and direction.type_allowed(request)
            and "content-encoding" not in request
            and _transfer_allows(request)
        ):
            request.remove("content-length")
            request["content-encoding"] = config.library.encoding
            stats.compressed.value += 1
            self._request = config.library.make()
        else:
            stats.not_compressed.value += 1

    def _join(self, stream: Stream) -> None:
        """Let the compressors of a chain know of one another."""
        if stream.filter_state is None or _CHAIN not in stream.filter_state:
            stream.set_filter_state(_CHAIN, [])
        assert stream.filter_state is not None
        chain = stream.filter_state[_CHAIN]
        assert isinstance(chain, list)
        chain.append(self.config)
        self._chain = chain

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        config = self.config
        stats = config.response_stats
        against = self._reason_against(response)
        bodiless = stream.request.method == "HEAD" or response.status in (204, 304) or stream.response_end
        # With a status header Envoy asks in another order, which statistics show.
        asked = not against if config.tell_status else against not in (_OFF, _TOO_SMALL)
        accepted = not bodiless and asked and self._accepts(response)
        status = "" if bodiless or _no_transform(response) or "content-encoding" in response else against
        if not against and config.tell_status:
            _vary(response)
        if accepted and not against and _transfer_allows(response):
            status = f"Compressed;OriginalLength={response.get('content-length') or ''}"
            _weaken_etag(response, keep=self.config.weakens_etag)
            response.remove("content-length")
            response["content-encoding"] = config.library.encoding
            stats.compressed.value += 1
            self._response = config.library.make()
        else:
            stats.not_compressed.value += 1
        if config.tell_status:
            if status and status != _OFF:
                response.add("x-envoy-compression-status", f"{config.library.encoding};{status}")
        elif not against:
            _vary(response)

    def _reason_against(self, response: ResponseHeaders) -> str:
        """Why such a response stays as it is, in the words of the status header; "" for no reason."""
        config = self.config
        if not config.response.on:
            return _OFF
        if not config.response.long_enough(response, config.response_stats):
            return _TOO_SMALL
        if not config.response.type_allowed(response):
            return "ContentTypeNotAllowed"
        if _no_transform(response):
            return _OFF_LIMITS
        if config.not_with_etag and "etag" in response:
            config.response_stats.not_compressed_etag.value += 1
            return "EtagNotAllowed"
        if "content-encoding" in response:
            return _OFF_LIMITS
        return "StatusCodeNotAllowed" if response.status in config.uncompressible else ""

    def _accepts(self, response: ResponseHeaders) -> bool:
        stats = self.config.response_stats
        if self._accepted is None:
            stats.no_accept_header.value += 1
            return False
        available: list[str] = []
        first: list[str] = []
        for other in self._chain or (self.config,):
            encoding = other.library.encoding
            if encoding not in available and other.response.type_allowed(response):
                available.append(encoding)
                if other.first:
                    first.append(encoding)
        choice, why = choose_encoding(self._accepted, available, first)
        chosen = choice == self.config.library.encoding
        if why == "valid":
            (stats.used if chosen else stats.overshadowed).value += 1
        elif why == "identity":
            stats.identity.value += 1
        elif why == "wildcard":
            stats.wildcard.value += 1
        else:
            stats.not_valid.value += 1
        return chosen

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> bytes | None:
        return _compress(self._response, self.config.response_stats, data, end)

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> None:
        rest = _compress(self._response, self.config.response_stats, b"", True)
        if rest:
            stream.add_response_body(rest)


class Compressing(ResponseCompressing):
    """See the module."""

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> bytes | None:
        return _compress(self._request, self.config.request_stats, data, end)

    def on_request_trailers(self, trailers: Headers, stream: Stream) -> None:
        rest = _compress(self._request, self.config.request_stats, b"", True)
        if rest:
            stream.add_request_body(rest)


def _compress(compressor: Compressor | None, stats: DirectionStats, data: bytes, end: bool) -> bytes | None:
    if compressor is None:
        return None
    out = compressor.compress_last(data) if end else compressor.compress(data)
    stats.uncompressed_bytes.value += len(data)
    stats.compressed_bytes.value += len(out)
    return out


def _tokens(value: str | None) -> list[str]:
    return [token.strip().lower() for token in value.split(",")] if value else []


def _no_transform(message: Headers) -> bool:
    return "no-transform" in _tokens(message.get("cache-control"))


def _transfer_allows(message: Headers) -> bool:
    return not {"gzip", "deflate", "compress", "br", "zstd"}.intersection(_tokens(message.get("transfer-encoding")))


def _weaken_etag(response: ResponseHeaders, *, keep: bool) -> None:
    """A strong validator says that the bytes are the same; they aren't any more (RFC 9110 section 8.8.1).

    keep: as a weak one.
    """
    etag = response.get("etag")
    if etag is None or etag.lower().startswith("w/"):
        return
    if keep:
        response["etag"] = f"W/{etag}"
    else:
        response.remove("etag")


def _vary(response: ResponseHeaders) -> None:
    value = response.get("vary")
    if not value:
        response["vary"] = "Accept-Encoding"
    elif "Accept-Encoding" not in [token.strip() for token in value.split(",")]:
        response["vary"] = f"{value}, Accept-Encoding"


def _read(view: ConfigView, context: FactoryContext) -> CompressorConfig:
    library = compile_compressor(view.required("compressor_library"))
    scope = context.stats.scope(f"compressor.{library.name}.")
    request, response = view.view("request_direction_config"), view.view("response_direction_config")
    request_common = request.view("common_config") if request is not None else None
    if response is not None:
        common = response.view("common_config")
        response_direction = _read_direction(common, context, on=True)
    else:
        response_direction = _read_old_direction(view, context)
    options = response if response is not None else view
    codes = response.integers("uncompressible_response_codes") if response is not None else []
    weakens = response is not None and response.boolean("weaken_etag_on_compress")
    return CompressorConfig(
        library=library,
        first=view.boolean("choose_first"),
        request=_read_direction(request_common, context, on=request is not None),
        request_stats=DirectionStats(scope.scope("request.")),
        response=response_direction,
        response_stats=ResponseStats(scope.scope("response.") if response is not None else scope, scope),
        weakens_etag=weakens,
        not_with_etag=options.boolean("disable_on_etag_header") and not weakens,
        remove_accept=options.boolean("remove_accept_encoding_header"),
        uncompressible=frozenset(codes),
        tell_status=response is not None and response.boolean("status_header_enabled"),
    )


def _read_direction(view: ConfigView | None, context: FactoryContext, *, on: bool) -> Direction:
    if view is None:
        return Direction(ON if on else None, _MIN_LENGTH, _CONTENT_TYPES)
    flag = view.view("enabled")
    enabled = ON if flag is None else context.compile_runtime_flag(flag)
    return Direction(
        enabled=enabled if on else None,
        min_length=view.integer("min_content_length", _MIN_LENGTH),
        types=frozenset(map(str.lower, view.texts("content_type"))) or _CONTENT_TYPES,
        type_matchers=tuple(context.compile_string_matcher(each) for each in view.views("content_type_matcher")),
    )


def _read_old_direction(view: ConfigView, context: FactoryContext) -> Direction:
    """The fields that `response_direction_config` replaces."""
    enabled = view.view("runtime_enabled")
    return Direction(
        enabled=ON if enabled is None else context.compile_runtime_flag(enabled),
        min_length=view.integer("content_length", _MIN_LENGTH),
        types=frozenset(map(str.lower, view.texts("content_type"))) or _CONTENT_TYPES,
    )


def _read_route(view: ConfigView) -> RouteOverride:
    if view.which("override") == "disabled":
        return RouteOverride(off=view.boolean("disabled"))
    overrides = view.required("overrides")
    response = overrides.view("response_direction_config")
    library = overrides.view("compressor_library")
    remove = None
    if response is not None and response.has("remove_accept_encoding_header"):
        remove = response.boolean("remove_accept_encoding_header")
    return RouteOverride(
        response_on=response is not None,
        remove_accept=remove,
        library=compile_compressor(library) if library is not None else None,
    )
