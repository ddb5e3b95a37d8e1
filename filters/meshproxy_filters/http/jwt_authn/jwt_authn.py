"""`envoy.filters.http.jwt_authn`: lets a request pass if it brings the JSON Web Tokens that its route requires.

The first rule whose match holds decides; without one, the requirement that the stream's filter state names; without
that, nothing is required. A route may name a requirement itself, or switch the filter off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.records import dataclass
from meshproxy_filters.http.jwt_authn.jwks import JwtStats
from meshproxy_filters.http.jwt_authn.provider import AUDIENCE_NOT_ALLOWED, read_provider
from meshproxy_filters.http.jwt_authn.requirements import MISSING, Providers, Verifier, read_requirement

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_LONGEST_PATH = 256
_OFF = ""

Matches = Callable[[RequestHeaders, Stream], bool]


@dataclass(frozen=True, slots=True, eq=False)
class JwtConfig:
    """rules: asked in order; a verifier of None requires nothing. named: `requirement_map`.

    state_key, by_state: the object of filter state that names a requirement, and those that it may name.
    override: of a route: the name of its requirement, "" to switch the filter off; None for the rules.
    """

    stats: JwtStats
    rules: Sequence[tuple[Matches, Verifier | None]] = ()
    named: Mapping[str, Verifier | None] | None = None
    state_key: str = ""
    by_state: Mapping[str, Verifier | None] | None = None
    bypass_preflight: bool = False
    strip_failure: bool = False
    override: str | None = None


class JwtAuthn(HttpFilter[JwtConfig]):
    """See the module."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> JwtConfig:
        return _read(view, context)

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> JwtConfig:
        """`PerRouteConfig`."""
        stats = JwtStats(context.stats.scope("jwt_authn."))
        if view.which("requirement_specifier") == "disabled":
            if not view.boolean("disabled"):
                view.fail("it must be true where it is set", "disabled")
            return JwtConfig(stats, override=_OFF)
        return JwtConfig(stats, override=view.text("requirement_name"))

    @classmethod
    def merge_route(cls, base: JwtConfig, route: JwtConfig) -> JwtConfig:
        return replace(base, override=route.override)

    def on_request_headers(
        self, request: RequestHeaders, stream: Stream
    ) -> LocalReply | Awaitable[LocalReply | None] | None:
        config = self.config
        if config.bypass_preflight and _is_preflight(request):
            config.stats.cors_preflight_bypassed.value += 1
            config.stats.allowed.value += 1
            return None
        verifier = None
        if config.override:
            named = config.named or {}
            if config.override not in named:
                return _wrong_name(config, config.override, named)
            verifier = named[config.override]
        elif config.override is None:
            verifier = _find_verifier(config, request, stream)
        if verifier is None:
            config.stats.allowed.value += 1
            return None
        return self._verify(verifier, request, stream)

    async def _verify(self, verifier: Verifier, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        config = self.config
        # As the client sent it: the verifier may take a token out of the path.
        uri = f"{request.scheme}://{request.authority}{request.path[:_LONGEST_PATH]}"
        fault = await verifier.verify(request, stream)
        if not fault:
            config.stats.allowed.value += 1
            return None
        config.stats.denied.value += 1
        challenge = f'Bearer realm="{uri}"'
        if fault != MISSING:
            challenge += ', error="invalid_token"'
        status = 403 if fault == AUDIENCE_NOT_ALLOWED else 401
        return LocalReply(
            status,
            b"" if config.strip_failure else fault.encode("latin-1", "replace"),
            headers=() if config.strip_failure else (("www-authenticate", challenge),),
            details=f"jwt_authn_access_denied{{{fault}}}",
        )


def _find_verifier(config: JwtConfig, request: RequestHeaders, stream: Stream) -> Verifier | None:
    for matches, verifier in config.rules:
        if matches(request, stream):
            return verifier
    if config.by_state:
        value = (stream.filter_state or {}).get(config.state_key)
        if isinstance(value, str):
            return config.by_state.get(value)
    return None


def _is_preflight(request: RequestHeaders) -> bool:
    return (
        request.method == "OPTIONS"
        and bool(request.get("origin"))
        and bool(request.get("access-control-request-method"))
    )


def _wrong_name(config: JwtConfig, name: str, named: Mapping[str, Verifier | None]) -> LocalReply:
    config.stats.denied.value += 1
    fault = f"Wrong requirement_name: {name}. It should be one of [{','.join(named)}]"
    body = b"" if config.strip_failure else f"Failed JWT authentication: {fault}".encode("latin-1", "replace")
    return LocalReply(403, body, details=f"jwt_authn_access_denied{{{fault}}}")


def _read(view: ConfigView, context: FactoryContext) -> JwtConfig:
    prefix = view.text("stat_prefix").removesuffix(".")
    stats = JwtStats(context.stats.scope(f"jwt_authn.{prefix}." if prefix else "jwt_authn."))
    by_name = {
        name: read_provider(name, entry, stats, context) for name, entry in sorted(view.view_map("providers").items())
    }
    providers = Providers(by_name, context.clock, stats)
    named = {
        name: read_requirement(entry, providers) for name, entry in sorted(view.view_map("requirement_map").items())
    }
    state_rules = view.view("filter_state_rules")
    by_state: dict[str, Verifier | None] = {}
    if state_rules is not None:
        by_state = {
            name: read_requirement(entry, providers) for name, entry in state_rules.view_map("requires").items()
        }
    return JwtConfig(
        stats=stats,
        rules=[_read_rule(entry, named, providers, context) for entry in view.views("rules")],
        named=named,
        state_key=state_rules.text("name") if state_rules is not None else "",
        by_state=by_state,
        bypass_preflight=view.boolean("bypass_cors_preflight"),
        strip_failure=view.boolean("strip_failure_response"),
    )


def _read_rule(
    view: ConfigView, named: Mapping[str, Verifier | None], providers: Providers, context: FactoryContext
) -> tuple[Matches, Verifier | None]:
    matches = context.compile_route_match(view.required("match"))
    match view.which("requirement_type"):
        case "requires":
            return matches, read_requirement(view.required("requires"), providers)
        case "requirement_name":
            name = view.text("requirement_name")
            if name not in named:
                view.fail(
                    f"Wrong requirement_name: {name}. It should be one of [{','.join(named)}]", "requirement_name"
                )
            return matches, named[name]
        case _:
            return matches, None
