"""`envoy.filters.http.rbac`: lets a request pass by the rules of role-based access control.

Shadow rules are decided and counted, and told to the metadata, but never enforced. Without `rules` (as opposed to
empty ones) nothing is enforced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stats import Counter, StatsScope
from meshproxy.records import dataclass
from meshproxy_filters.rbac_rules import Rules, Verdict, read_rules

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_NAMESPACE = "envoy.filters.http.rbac"
_BODY = b"RBAC: access denied"


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """A rule set with where its verdicts are told: two counters, two keys of the metadata.

    of_policies: where each policy has counters too, if that is asked for; they come to be when they first count.
    """

    rules: Rules
    allowed: Counter
    denied: Counter
    policy_key: str
    result_key: str
    of_policies: StatsScope | None = None
    shadow: bool = False

    def decide(self, stream: Stream) -> Verdict:
        """Decide, count, and note it."""
        verdict = self.rules(stream)
        passes, policy, _ = verdict
        (self.allowed if passes else self.denied).value += 1
        if self.of_policies is not None and policy:
            outcome = f"{'shadow_' if self.shadow else ''}{'allowed' if passes else 'denied'}"
            self.of_policies.counter(f"policy.{policy}.{outcome}").value += 1
        noted = stream.metadata(_NAMESPACE)
        if policy:
            noted[self.policy_key] = policy
        noted[self.result_key] = "allowed" if passes else "denied"
        return verdict


@dataclass(frozen=True, slots=True)
class Place:
    """Where the filter's own verdicts of one kind are counted, and what their keys in the metadata begin with."""

    scope: StatsScope
    prefix: str
    names: str

    def counter(self, outcome: str) -> Counter:
        return self.scope.counter(f"{self.names}{outcome}")


@dataclass(frozen=True, slots=True, eq=False)
class RbacConfig:
    """enforced, shadow: None where nothing is configured. places: of these two."""

    enforced: Verdicts | None
    shadow: Verdicts | None
    places: tuple[Place, Place]


@dataclass(frozen=True, slots=True, eq=False)
class RouteRules:
    """Of a route, of one kind. prefix: of the keys in the metadata, "" for the filter's own."""

    rules: Rules
    prefix: str
    track: bool


class Rbac(HttpFilter[RbacConfig]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> RbacConfig:
        places = _read_place(view, "", context), _read_place(view, "shadow_", context)
        enforced, shadow = (_bind(_read(view, place.names, context), place) for place in places)
        return RbacConfig(enforced, shadow, places)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> RbacConfig:
        """`RBACPerRoute`; without rules in it the filter is off. `merge_route` makes an `RbacConfig` of it."""
        rbac = view.view("rbac")
        rules = (_read(rbac, names, context) if rbac is not None else None for names in ("", "shadow_"))
        return tuple(rules)  # type: ignore[return-value]  # never used before it is merged

    @classmethod
    def merge_route(cls, base: RbacConfig, route: RbacConfig) -> RbacConfig:
        """As in Envoy, what a route's rules decide counts among the filter's own verdicts."""
        assert isinstance(route, tuple)
        enforced, shadow = (_bind(rules, place) for rules, place in zip(route, base.places, strict=True))
        return RbacConfig(enforced, shadow, base.places)

    @classmethod
    def is_active(cls, config: RbacConfig) -> bool:
        return config.enforced is not None or config.shadow is not None

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        config = self.config
        if config.shadow is not None:
            config.shadow.decide(stream)
        if config.enforced is None:
            return None
        passes, policy, log = config.enforced.decide(stream)
        if log is not None:
            stream.set_metadata("envoy.common", "access_log_hint", log)
        if passes:
            return None
        return LocalReply(403, _BODY, details=f"rbac_access_denied_matched_policy[{policy or 'none'}]")


def _read_place(view: ConfigView, names: str, context: FactoryContext) -> Place:
    prefix = view.text(f"{names}rules_stat_prefix")
    scope = context.stats.scope("rbac.")
    if prefix:
        scope = scope.scope(prefix if prefix.endswith(".") else f"{prefix}.")
    place = Place(scope, prefix, names)
    place.counter("allowed")  # there also without rules
    place.counter("denied")
    return place


def _read(view: ConfigView, names: str, context: FactoryContext) -> RouteRules | None:
    prefix, track = view.text(f"{names}rules_stat_prefix"), view.boolean("track_per_rule_stats")
    rules = read_rules(view, names, context)
    return None if rules is None else RouteRules(rules, prefix, track)


def _bind(read: RouteRules | None, place: Place) -> Verdicts | None:
    if read is None:
        return None
    start = f"{read.prefix or place.prefix}{'shadow' if place.names else 'enforced'}"
    return Verdicts(
        rules=read.rules,
        allowed=place.counter("allowed"),
        denied=place.counter("denied"),
        policy_key=f"{start}_effective_policy_id",
        result_key=f"{start}_engine_result",
        of_policies=place.scope if read.track else None,
        shadow=bool(place.names),
    )
