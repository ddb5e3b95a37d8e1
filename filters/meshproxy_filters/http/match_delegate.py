"""`envoy.filters.http.match_delegate` (ExtensionWithMatcher): another filter, and a matcher tree that says what of it.

The tree is asked once, when the request's head comes. `SkipFilter` leaves the filter out for this stream. Around a
`composite` filter, which does nothing by itself, the action is a filter to run in its place. Without any tree the
filter doesn't run, as in Envoy. A tree that looks at what an answer brings is refused: the filter inside has seen the
request by then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.listener import FilterSpec
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import BodyPart, BodyResult, HeadersResult, HttpFilter, PlainResult
from meshproxy.records import dataclass
from meshproxy_filters.http.composite import Composite

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView, TypedView

_SKIP = "envoy.extensions.filters.common.matcher.action.v3.SkipFilter"
_EXECUTE = "envoy.extensions.filters.http.composite.v3.ExecuteFilterAction"

# What there is to look at when a request's head has come.
_NETWORK = "envoy.extensions.matching.common_inputs.network.v3."
_INPUTS = (
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
    "envoy.type.matcher.v3.HttpRequestQueryParamMatchInput",
    "xds.type.matcher.v3.HttpAttributesCelMatchInput",
    *(
        f"{_NETWORK}{name}Input"
        for name in ("DestinationIP", "DestinationPort", "SourceIP", "SourcePort", "DirectSourceIP")
    ),
    *(f"{_NETWORK}{name}Input" for name in ("SourceType", "ServerName", "FilterState", "DynamicMetadata")),
    *(f"envoy.extensions.matching.common_inputs.ssl.v3.{name}Input" for name in ("UriSan", "DnsSan", "Subject")),
)

Decide = Callable[[Any], FilterSpec | None]
"""From the stream to the filter that runs in place of the configured one, `_NONE` for no filter; None leaves it."""

_NONE = FilterSpec("", HttpFilter, None)


@dataclass(frozen=True, slots=True, eq=False)
class DelegateConfig:
    """spec: the filter inside. decide: None where no tree is configured. buffers, buffers_answers: some filter wants
    whole bodies of requests, or of responses."""

    spec: FilterSpec | None
    decide: Decide | None
    buffers: bool
    buffers_answers: bool = False


class MatchDelegate(HttpFilter[DelegateConfig]):
    """See the module."""

    _inner: HttpFilter[Any] | None = None

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> DelegateConfig:
        if view.has("matcher"):
            view.fail("the older form of matchers isn't supported by meshproxy; xds_matcher is", "matcher")
        extension = view.required("extension_config")
        spec = context.compile_http_filter(extension)
        _check(extension, spec)
        matcher = view.view("xds_matcher")
        composite = issubclass(spec.filter_class, Composite)
        decide, specs = _compile_tree(matcher, composite, context) if matcher is not None else (None, [])
        return DelegateConfig(
            spec, decide, any(map(_buffers, (spec, *specs))), any(map(_buffers_answers, (spec, *specs)))
        )

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> DelegateConfig:
        """`ExtensionWithMatcherPerRoute`: another tree for the same filter."""
        decide, specs = _compile_tree(view.required("xds_matcher"), True, context)
        return DelegateConfig(None, decide, any(map(_buffers, specs)), any(map(_buffers_answers, specs)))

    @classmethod
    def merge_route(cls, base: DelegateConfig, route: DelegateConfig) -> DelegateConfig:
        return replace(
            base,
            decide=route.decide,
            buffers=base.buffers or route.buffers,
            buffers_answers=base.buffers_answers or route.buffers_answers,
        )

    @classmethod
    def is_active(cls, config: DelegateConfig) -> bool:
        return config.spec is not None and config.decide is not None

    @classmethod
    def buffers_request(cls, config: DelegateConfig) -> bool:
        return config.buffers

    @classmethod
    def buffers_response(cls, config: DelegateConfig) -> bool:
        return config.buffers_answers

    def _choose(self, stream: Stream) -> HttpFilter[Any] | None:
        decide = self.config.decide
        spec = None if decide is None else decide(stream) or self.config.spec
        if spec is None or spec is _NONE or not spec.filter_class.is_active(spec.config):
            return None
        made: HttpFilter[Any] = spec.filter_class(spec.config, spec.context)
        return made

    def stands_for(self, other: HttpFilter[Any]) -> bool:
        return other is self or (self._inner is not None and self._inner.stands_for(other))

    def wants_request_body(self) -> bool | BodyPart:
        inner = self._inner
        return inner is not None and inner.buffers_request(inner.config) and inner.wants_request_body()

    def wants_response_body(self) -> bool | BodyPart:
        inner = self._inner
        return inner is not None and inner.buffers_response(inner.config) and inner.wants_response_body()

    @property
    def body_limit(self) -> int:
        return self._inner.body_limit if self._inner is not None else 0

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> HeadersResult:
        self._inner = inner = self._choose(stream)
        return None if inner is None else inner.on_request_headers(request, stream)

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> BodyResult:
        return None if self._inner is None else self._inner.on_request_body(data, end, stream)

    def on_request_trailers(self, trailers: Headers, stream: Stream) -> HeadersResult:
        return None if self._inner is None else self._inner.on_request_trailers(trailers, stream)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> PlainResult:
        return None if self._inner is None else self._inner.on_response_headers(response, stream)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> BodyResult:
        return None if self._inner is None else self._inner.on_response_body(data, end, stream)

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> PlainResult:
        return None if self._inner is None else self._inner.on_response_trailers(trailers, stream)

    def on_stream_complete(self, stream: Stream) -> None:
        if self._inner is not None:
            self._inner.on_stream_complete(stream)


def _buffers(spec: FilterSpec) -> bool:
    return bool(spec.filter_class.buffers_request(spec.config))


def _buffers_answers(spec: FilterSpec) -> bool:
    return bool(spec.filter_class.buffers_response(spec.config))


def _check(view: ConfigView, spec: FilterSpec) -> None:
    """Filters that can't be left out can't stand inside."""
    if spec.filter_class.terminal or issubclass(spec.filter_class, MatchDelegate):
        view.fail("a filter that ends the chain, or one with a matcher of its own, can't have a matcher")


def _compile_tree(view: ConfigView, composite: bool, context: FactoryContext) -> tuple[Decide, list[FilterSpec]]:
    """The tree, and the filters that it may run."""
    specs: list[FilterSpec] = []

    def compile_action(typed: TypedView) -> FilterSpec:
        if typed.full_name == _SKIP:
            typed.message(_SKIP)
            return _NONE
        message = typed.message(_EXECUTE)
        if not composite:
            typed.fail("only in place of a composite filter another one can run")
        extension = message.view("typed_config")
        if extension is None or message.has("sample_percent"):
            typed.fail("meshproxy runs one filter, named in 'typed_config', without a sample")
        spec = context.compile_http_filter(extension)
        _check(extension, spec)
        specs.append(spec)
        return spec

    return context.compile_http_matcher(view, compile_action, _INPUTS), specs
