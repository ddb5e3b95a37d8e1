"""What a filter is given: the factory context when it is compiled, the stream or connection while it runs.

The classes are abstract; the runtime implements them over sockets and `meshproxy.testing` without any. A filter written
against them can't tell the difference, which is what makes it testable. Filters import all of them from here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from meshproxy.clock import Clock
from meshproxy.headers import RequestHeaders
from meshproxy.matching import FractionalPercent, HeaderMatcher, StringMatcher
from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.listener import AccessLog, FilterSpec, LineFormatter
from meshproxy.model.rate_limit import RateLimit
from meshproxy.model.route import HeaderMutations, RequestPredicate
from meshproxy.model.snapshot import Node
from meshproxy.plugin.calls import FetchError, FetchReply, GrpcCall, GrpcError
from meshproxy.plugin.connection import Connection
from meshproxy.plugin.secret import LiveSecret
from meshproxy.plugin.services import Logger, ServerState, Timer
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.stream import Stream, StreamSpan
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.records import dataclass
from meshproxy.runtime_values import Live, RuntimeValues, Share

if TYPE_CHECKING:
    from meshproxy.model.forwarding import DnsCacheOptions
    from meshproxy.plugin.view import ConfigView, TypedView


__all__ = [
    "Connection",
    "FactoryContext",
    "FetchError",
    "FetchReply",
    "GrpcCall",
    "GrpcError",
    "Logger",
    "ServerState",
    "Stream",
    "StreamSpan",
    "Timer",
]


T = TypeVar("T")


@dataclass(slots=True)
class FactoryContext:
    """What there is when a filter's configuration is compiled, and as `self.context` in each of its instances.

    name: the filter's name in its chain. stats: the scope for its statistics, such as `http.ingress.`; root_stats: the
    one above all, for filters whose statistics have a prefix of their own.
    rng: every random decision is drawn from it, so that a test can seed it.
    runtime: the runtime values (`layered_runtime`), by key. They may change: `runtime.integer`, `number`, `flag` and
        `share` give what follows a key, and `RuntimeValues` says how it is read.
    compile_*: the compilers of things that several filters configure; they raise ConfigError. Their arguments are the
    messages that Envoy's filters have in common: `AccessLog`, a format string, `HeaderValueOption` with names to
    remove, `StringMatcher`, `RegexMatcher`, `HeaderMatcher`, `FractionalPercent`, `RuntimeFractionalPercent`,
    `DataSource`, `SubstitutionFormatString`, `route.v3.RateLimit`, `RouteMatch`, `HeaderValue` (each overwrites),
    `RedirectAction` without rewrites of paths (to what gives the URI for a request),
    `MetadataMatcher`, `FilterStateMatcher`, `RuntimeFeatureFlag`, `GrpcService`, `Expr` of CEL with
    `CelExpressionConfig`.
    compile_header_format: a format string as in headers, where what is absent is empty; a text where nothing varies.
    compile_http_matcher, compile_network_matcher: a matcher tree (`xds.type.matcher.v3.Matcher`) and what compiles its
    actions; they give a function of the stream, to the action or None. The former also takes the names of the inputs
    that are allowed, none for all.
    compile_attribute: a CEL expression as text, to a function of the stream that gives what JSON can say, None without
    a value; raises ValueError. compile_attribute_text: to one that gives the value as text, None without one; texts may
    be concatenated and converted there, as in filters that don't restrict CEL.
    compile_http_filter: another HTTP filter, from a `TypedExtensionConfig`. compile_upstream_filters: a chain of
    `HttpFilter` towards hosts, without its codec.
    compile_secret: a generic secret, from a `SdsSecretConfig`. awaited_secrets: those that somebody has to provide.
    shared_objects: see `shared`. traffic_direction: of the listener, "INBOUND", "OUTBOUND" or "UNSPECIFIED".
    scheme_of_upstream: requests go upstream with the scheme of the transport there.
    """

    name: str
    stats: StatsScope
    root_stats: StatsScope
    log: Logger
    clock: Clock
    rng: random.Random
    node: Node
    runtime: RuntimeValues
    compile_access_logs: Callable[[Sequence[ConfigView]], tuple[AccessLog, ...]]
    compile_format: Callable[[str], LineFormatter]
    compile_body_format: Callable[[ConfigView], LineFormatter]
    compile_header_format: Callable[[str], str | LineFormatter]
    compile_tlv_value: Callable[[ConfigView], Callable[[StreamInfo], bytes]]
    compile_header_mutations: Callable[[Sequence[ConfigView], Sequence[str]], HeaderMutations | None]
    compile_string_matcher: Callable[[ConfigView], StringMatcher]
    compile_regex_matcher: Callable[[ConfigView], StringMatcher]
    compile_header_matcher: Callable[[ConfigView], HeaderMatcher]
    compile_fraction: Callable[[ConfigView], FractionalPercent]
    compile_runtime_fraction: Callable[[ConfigView], Share]
    compile_data_source: Callable[[ConfigView], bytes]
    compile_rate_limits: Callable[[Sequence[ConfigView]], tuple[RateLimit, ...]]
    compile_route_match: Callable[[ConfigView], RequestPredicate]
    compile_redirect: Callable[[ConfigView], Callable[[RequestHeaders, StreamInfo], str]]
    compile_header_values: Callable[[Sequence[ConfigView]], HeaderMutations | None]
    compile_metadata_matcher: Callable[[ConfigView], Callable[[Mapping[str, Any] | None], bool]]
    compile_filter_state_matcher: Callable[[ConfigView], Callable[[StreamInfo], bool]]
    compile_runtime_flag: Callable[[ConfigView], Live[bool]]
    compile_expression: Callable[[ConfigView, ConfigView | None], Callable[[StreamInfo], bool]]
    compile_http_matcher: Callable[[ConfigView, Callable[[TypedView], Any], Collection[str]], Callable[[Any], Any]]
    compile_network_matcher: Callable[[ConfigView, Callable[[TypedView], Any]], Callable[[Any], Any]]
    compile_attribute: Callable[[str], Callable[[StreamInfo], Any]]
    compile_attribute_text: Callable[[str], Callable[[StreamInfo], str | None]]
    compile_http_filter: Callable[[ConfigView], FilterSpec]
    compile_upstream_filters: Callable[[Sequence[ConfigView]], tuple[FilterSpec, ...]]
    compile_grpc_service: Callable[[ConfigView], GrpcService]
    compile_dns_cache: Callable[[ConfigView], DnsCacheOptions]
    compile_secret: Callable[[ConfigView], LiveSecret]
    awaited_secrets: list[Any]
    shared_objects: dict[Hashable, Any]
    traffic_direction: str
    scheme_of_upstream: bool

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What all filters of one configuration that name the same `key` have in common; `make` makes it once."""
        if key not in self.shared_objects:
            self.shared_objects[key] = make()
        found: T = self.shared_objects[key]
        return found
