"""`envoy.filters.network.rbac`: lets a connection pass by the rules of role-based access control.

As in Envoy it decides when the first bytes come, not when the connection does: a peer that says nothing is neither let
through nor sent away, and filters behind this one have begun by then. Shadow rules are decided, counted and told to the
metadata, but never enforced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import DataResult, NetworkFilter
from meshproxy.plugin.stats import Counter
from meshproxy.records import dataclass
from meshproxy_filters.rbac_rules import Rules, Verdict, read_rules

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_NAMESPACE = "envoy.filters.network.rbac"


@dataclass(frozen=True, slots=True, eq=False)
class CountedRules:
    """A rule set with its two counters."""

    rules: Rules
    allowed: Counter
    denied: Counter

    def decide(self, connection: Connection) -> Verdict:
        """Decide and count it."""
        verdict = self.rules(connection.stream)
        (self.allowed if verdict.passes else self.denied).value += 1
        return verdict


@dataclass(frozen=True, slots=True, eq=False)
class RbacConfig:
    """enforced, shadow: None where nothing is configured. continuous: decide again with each piece of data.

    shadow_prefix: of the keys under which shadow verdicts are told. delay: seconds that a refused peer waits.
    """

    enforced: CountedRules | None
    shadow: CountedRules | None
    shadow_prefix: str
    continuous: bool
    delay: float


class Rbac(NetworkFilter[RbacConfig]):
    """See the module."""

    _decided: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> RbacConfig:
        prefix = view.text("stat_prefix")
        scope = context.root_stats.scope(prefix if prefix.endswith(".") else f"{prefix}.").scope("rbac.")
        shadow_prefix = view.text("shadow_rules_stat_prefix")
        shadow_scope = scope.scope(f"{shadow_prefix.removesuffix('.')}.") if shadow_prefix else scope
        return RbacConfig(
            enforced=_read(view, "", scope.counter("allowed"), scope.counter("denied"), context),
            shadow=_read(
                view,
                "shadow_",
                shadow_scope.counter("shadow_allowed"),
                shadow_scope.counter("shadow_denied"),
                context,
            ),
            shadow_prefix=shadow_prefix,
            continuous=view.enum("enforcement_type") == "CONTINUOUS",
            delay=view.seconds("delay_deny", 0.0),
        )

    def on_data(self, data: bytes, end: bool, connection: Connection) -> DataResult:
        if self._decided and not self.config.continuous:
            return None
        self._decided = True
        if self.config.shadow is not None:
            self._note(self.config.shadow, connection)
        enforced = self.config.enforced
        if enforced is None:
            return None
        passes, policy, log = enforced.decide(connection)
        if log is not None:
            connection.stream.set_metadata("envoy.common", "access_log_hint", log)
        if passes:
            return None
        connection.stream.bytes_received += len(data)  # nobody behind us will count them
        return self._refuse(policy, connection)

    def _note(self, shadow: CountedRules, connection: Connection) -> None:
        passes, policy, _ = shadow.decide(connection)
        prefix = self.config.shadow_prefix
        stream = connection.stream
        if policy:
            stream.set_metadata(_NAMESPACE, f"{prefix}shadow_effective_policy_id", policy)
        stream.set_metadata(_NAMESPACE, f"{prefix}shadow_engine_result", "allowed" if passes else "denied")

    def _refuse(self, policy: str, connection: Connection) -> DataResult:
        name = policy.replace(" ", "_") or "none"
        connection.info.termination_details = f"rbac_access_denied_matched_policy[{name}]"
        connection.info.local_close_reason = "rbac_deny_close"
        if self.config.delay:
            return self._close_later(connection)
        connection.close()
        return b""

    async def _close_later(self, connection: Connection) -> bytes:
        await connection.sleep(self.config.delay)
        connection.close()
        return b""


def _read(
    view: ConfigView, kind: str, allowed: Counter, denied: Counter, context: FactoryContext
) -> CountedRules | None:
    rules = read_rules(view, kind, context, requests=False)
    return None if rules is None else CountedRules(rules, allowed, denied)
