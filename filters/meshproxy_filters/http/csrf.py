"""`envoy.filters.http.csrf`: refuses requests that change something and come from pages of elsewhere.

A browser says where a page is from in `Origin`, or in `Referer`. That must be the host that is asked, or one that the
policy adds. In shadow nothing is refused, only counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from meshproxy.absolute_url import parse_absolute_url
from meshproxy.headers import RequestHeaders
from meshproxy.matching import FractionalPercent, StringMatcher
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_CHANGING = frozenset(("POST", "PUT", "DELETE", "PATCH"))
_REFUSAL = LocalReply(403, b"Invalid origin", details="csrf_origin_mismatch")


class CsrfStats:
    """`http.<prefix>.csrf.`"""

    def __init__(self, scope: StatsScope) -> None:
        self.missing_source_origin = scope.counter("missing_source_origin")
        self.request_invalid = scope.counter("request_invalid")
        self.request_valid = scope.counter("request_valid")


@dataclass(frozen=True, slots=True, eq=False)
class CsrfConfig:
    """active: whether it can be in force for any request. enforce, shadow: draw whether it is for this one."""

    stats: CsrfStats
    active: bool
    enforce: Callable[[], bool]
    shadow: Callable[[], bool]
    additional: tuple[StringMatcher, ...]


class Csrf(HttpFilter[CsrfConfig]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> CsrfConfig:
        enabled, shadow = view.required("filter_enabled"), view.view("shadow_enabled")
        share = context.compile_runtime_fraction(enabled)
        shadow_share = context.compile_runtime_fraction(shadow) if shadow is not None else FractionalPercent(0)
        return CsrfConfig(
            stats=CsrfStats(context.stats.scope("csrf.")),
            active=share.possible or shadow_share.possible,
            enforce=share.sampler(context.rng),
            shadow=shadow_share.sampler(context.rng),
            additional=tuple(context.compile_string_matcher(entry) for entry in view.views("additional_origins")),
        )

    @classmethod
    def is_active(cls, config: CsrfConfig) -> bool:
        return config.active

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        config = self.config
        enforced = config.enforce()
        if (not enforced and not config.shadow()) or request.method not in _CHANGING:
            return None
        source = _source(request)
        if not source:
            config.stats.missing_source_origin.value += 1
        elif source == host_and_port(request.authority) or any(matches(source) for matches in config.additional):
            config.stats.request_valid.value += 1
            return None
        else:
            config.stats.request_invalid.value += 1
        return _REFUSAL if enforced else None


def _source(request: RequestHeaders) -> str:
    """Where the page says it is from; "" where it doesn't. A browser that won't say says "null"."""
    origin = request.get("origin")
    if origin == "null":
        return ""
    return host_and_port(origin or "") or host_and_port(request.get("referer") or "")


def host_and_port(url: str) -> str:
    """Host and port of a URL, as they are written; what is no URL to Envoy is returned as it is."""
    found = parse_absolute_url(url)
    return url if found is None else found.host_and_port
