"""`envoy.filters.http.cors`: cross-origin requests, by the policy that a route carries.

The filter's own configuration is empty: without a policy on the route it isn't in the plan. A policy acts on requests
that are forwarded to a cluster, and on no others (as in Envoy, a redirect or direct response is left alone). What the
policy of a route leaves open, that of its virtual host or table says; whether it is in force, it says alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.matching import StringMatcher
from meshproxy.model.route import ForwardAction
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stats import Counter, StatNames
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


_STATS = StatNames(counters=("cors.origin_valid", "cors.origin_invalid"))


@dataclass(frozen=True, slots=True, eq=False)
class CorsConfig:
    """`CorsPolicy`. enforce, shadow: whether the policy is to be applied, or only counted, for this request.

    allow_methods, allow_headers: "*" for what a preflight asks for. None, "" and () where the policy says nothing.
    """

    origin_valid: Counter
    origin_invalid: Counter
    enforce: Callable[[], bool]
    shadow: Callable[[], bool]
    origins: tuple[StringMatcher, ...]
    allow_methods: str
    allow_headers: str
    expose_headers: str
    max_age: str
    allow_credentials: bool | None
    allow_private_network: bool | None
    forward_others: bool | None

    def allows(self, origin: str) -> bool:
        """Whether an origin matches, or the policy is one for any origin (`*`)."""
        return any(matches("*") or matches(origin) for matches in self.origins)


class Cors(HttpFilter[CorsConfig | None]):
    """Answers preflights, and tells browsers who may read the response."""

    _origin: str = ""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> None:
        """It has no fields."""
        context.stats.declare(_STATS)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> CorsConfig:
        """`CorsPolicy`."""
        enabled, shadow = view.view("filter_enabled"), view.view("shadow_enabled")
        return CorsConfig(
            origin_valid=context.stats.counter("cors.origin_valid"),
            origin_invalid=context.stats.counter("cors.origin_invalid"),
            enforce=context.compile_runtime_fraction(enabled).sampler(context.rng) if enabled else lambda: True,
            shadow=context.compile_runtime_fraction(shadow).sampler(context.rng) if shadow else lambda: False,
            origins=tuple(context.compile_string_matcher(entry) for entry in view.views("allow_origin_string_match")),
            allow_methods=view.text("allow_methods"),
            allow_headers=view.text("allow_headers"),
            expose_headers=view.text("expose_headers"),
            max_age=view.text("max_age"),
            allow_credentials=_choice(view, "allow_credentials"),
            allow_private_network=_choice(view, "allow_private_network_access"),
            forward_others=_choice(view, "forward_not_matching_preflights"),
        )

    @classmethod
    def merge_levels(cls, configs: Sequence[CorsConfig | None]) -> CorsConfig | None:
        policies = [config for config in configs if config is not None]
        if len(policies) < 2:
            return configs[0]
        return replace(
            policies[0],
            origins=next((each.origins for each in policies if each.origins), ()),
            allow_methods=next((each.allow_methods for each in policies if each.allow_methods), ""),
            allow_headers=next((each.allow_headers for each in policies if each.allow_headers), ""),
            expose_headers=next((each.expose_headers for each in policies if each.expose_headers), ""),
            max_age=next((each.max_age for each in policies if each.max_age), ""),
            allow_credentials=_first_said(each.allow_credentials for each in policies),
            allow_private_network=_first_said(each.allow_private_network for each in policies),
            forward_others=_first_said(each.forward_others for each in policies),
        )

    @classmethod
    def is_active(cls, config: CorsConfig | None) -> bool:
        return config is not None

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        policy = self.config
        assert policy is not None
        if "origin" not in request.fields:  # nearly always
            return None
        origin = request["origin"]
        if not origin or stream.route is None or type(stream.route.action) is not ForwardAction:
            return None
        enforced = policy.enforce()
        if not enforced and not policy.shadow():
            return None
        allowed = policy.allows(origin)
        (policy.origin_valid if allowed else policy.origin_invalid).value += 1
        if not enforced:
            return None
        if allowed:
            self._origin = origin
        if request.method != "OPTIONS" or not request.get("access-control-request-method"):
            return None
        if not allowed and policy.forward_others is not False:
            return None
        return self._answer_preflight(policy, request)

    def _answer_preflight(self, policy: CorsConfig, request: RequestHeaders) -> LocalReply:
        headers = []
        if self._origin:
            headers.append(("access-control-allow-origin", self._origin))
        if policy.allow_credentials:
            headers.append(("access-control-allow-credentials", "true"))
        if policy.allow_methods:
            headers.append(("access-control-allow-methods", _or_asked(policy.allow_methods, request, "method")))
        if policy.allow_headers:
            headers.append(("access-control-allow-headers", _or_asked(policy.allow_headers, request, "headers")))
        if policy.max_age:
            headers.append(("access-control-max-age", policy.max_age))
        if policy.allow_private_network and request.get("access-control-request-private-network") == "true":
            headers.append(("access-control-allow-private-network", "true"))
        return LocalReply(200, headers=headers, details="cors_response", as_is=True)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        policy = self.config
        if not self._origin or policy is None:
            return
        response["access-control-allow-origin"] = self._origin
        if policy.allow_credentials:
            response["access-control-allow-credentials"] = "true"
        if policy.expose_headers:
            response["access-control-expose-headers"] = policy.expose_headers


def _choice(view: ConfigView, name: str) -> bool | None:
    return view.boolean(name) if view.has(name) else None


def _first_said(choices: Iterable[bool | None]) -> bool | None:
    return next((choice for choice in choices if choice is not None), None)


def _or_asked(allowed: str, request: RequestHeaders, what: str) -> str:
    """As in Envoy `*` allows what is asked for, by its name: browsers don't take `*` where there are credentials."""
    return (request.get(f"access-control-request-{what}") or "") if allowed == "*" else allowed
