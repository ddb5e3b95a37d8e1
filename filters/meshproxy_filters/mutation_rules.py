"""Which header fields a service may change (`config.common.mutation_rules.v3.HeaderMutationRules`).

Without rules a service may change neither what routing goes by (host, method, scheme) nor Envoy's own fields
(`x-envoy-`), and it never may remove a pseudo-field or the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import FactoryContext
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_ROUTING = frozenset(("host", ":authority", ":scheme", ":method"))


@dataclass(frozen=True, slots=True)
class MutationRules:
    """fails: a change that isn't allowed is an error, not passed over."""

    routing: bool = False
    envoy: bool = False
    no_pseudo: bool = False
    nothing: bool = False
    fails: bool = False
    allowed: Callable[[str], bool] | None = None
    refused: Callable[[str], bool] | None = None

    def may_set(self, name: str) -> bool:
        """Whether the field (in lower case) may be set."""
        if self.refused is not None and self.refused(name):
            return False
        if self.allowed is not None and self.allowed(name):
            return True
        if self.nothing or (self.no_pseudo and name.startswith(":")):
            return False
        if name in _ROUTING:
            return self.routing
        return self.envoy or not name.startswith("x-envoy-")

    def may_remove(self, name: str) -> bool:
        """Whether the field (in lower case) may be removed."""
        return not name.startswith(":") and name != "host" and self.may_set(name)


PSEUDO = frozenset((":status", ":method", ":path", ":scheme", ":authority", "host"))


def set_pseudo(headers: Headers, name: str, value: str) -> bool:
    """Set one of PSEUDO; says whether the message has it and the value is one."""
    if isinstance(headers, ResponseHeaders):
        valid = name == ":status" and value.isascii() and value.isdigit() and 200 <= int(value[:4]) <= 599
        if valid:
            headers.status = int(value)
        return valid
    if not isinstance(headers, RequestHeaders) or name == ":status" or not value or " " in value:
        return False
    if name in (":authority", "host"):
        headers.authority = value
    elif name == ":path":
        headers.path = value
    elif name == ":method":
        headers.method = value
    else:
        headers.scheme = value
    return True


def read_mutation_rules(view: ConfigView | None, context: FactoryContext) -> MutationRules:
    """The rules of a message; None for the defaults. Raises ConfigError."""
    if view is None:
        return MutationRules()
    allowed, refused = view.view("allow_expression"), view.view("disallow_expression")
    return MutationRules(
        routing=view.boolean("allow_all_routing"),
        envoy=view.boolean("allow_envoy"),
        no_pseudo=view.boolean("disallow_system"),
        nothing=view.boolean("disallow_all"),
        fails=view.boolean("disallow_is_error"),
        allowed=context.compile_regex_matcher(allowed) if allowed is not None else None,
        refused=context.compile_regex_matcher(refused) if refused is not None else None,
    )
