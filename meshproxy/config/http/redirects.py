"""Redirects that the proxy follows itself (envoy.config.route.v3.InternalRedirectPolicy; its predicates in
envoy.extensions.internal_redirect)."""

from __future__ import annotations

from meshproxy.headers import check_name
from meshproxy.model.redirect import InternalRedirects, RedirectHistory, RedirectPredicate
from meshproxy.plugin.view import ConfigView

_ALLOW_LISTED = "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig"
_PREVIOUS = "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig"
_SAFE = "envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig"
_CODES = frozenset((301, 302, 303, 307, 308))


def compile_internal_redirects(view: ConfigView) -> InternalRedirects | None:
    """What a `RouteAction` says of them; None: the client is told of every redirect. Raises ConfigError."""
    policy = view.view("internal_redirect_policy")
    # The older two fields count only without a policy.
    wanted, limit = view.enum("internal_redirect_action"), view.integer("max_internal_redirects", 1)
    if policy is None:
        return InternalRedirects(limit=limit) if wanted == "HANDLE_INTERNAL_REDIRECT" else None
    given = policy.integers("redirect_response_codes")
    return InternalRedirects(
        limit=policy.integer("max_internal_redirects", 1),
        codes=_CODES.intersection(given) if given else frozenset((302,)),
        predicates=tuple(_compile_predicate(entry) for entry in policy.views("predicates")),
        across_schemes=policy.boolean("allow_cross_scheme_redirect"),
        copied=tuple(_compile_name(policy, name) for name in policy.texts("response_headers_to_copy")),
    )


def _compile_name(view: ConfigView, name: str) -> str:
    if name.startswith(":") or name.lower() == "host":
        view.fail(f"':'-prefixed or host headers can't be copied, as '{name}'", "response_headers_to_copy")
    try:
        return check_name(name)
    except ValueError as error:
        view.fail(str(error), "response_headers_to_copy")


def _compile_predicate(view: ConfigView) -> RedirectPredicate:
    view.text("name")  # a label; the predicate is found by the type of its configuration, as in Envoy
    typed = view.any("typed_config")
    name = typed.full_name if typed is not None else ""
    if name == _ALLOW_LISTED and typed is not None and typed.view is not None:
        return _only_to(frozenset(typed.view.texts("allowed_route_names")))
    if name == _PREVIOUS:
        return _not_again
    if name == _SAFE:
        return _not_to_https
    view.fail(f"the predicates of meshproxy are those of Envoy, not '{name}'")


def _only_to(allowed: frozenset[str]) -> RedirectPredicate:
    return lambda history, source, target, from_https, to_https: target in allowed


def _not_again(history: RedirectHistory, source: str, target: str, from_https: bool, to_https: bool) -> bool:
    """A route is not led to twice from the same route."""
    followed = history.followed.setdefault(source, set())
    if target in followed:
        return False
    followed.add(target)
    return True


def _not_to_https(history: RedirectHistory, source: str, target: str, from_https: bool, to_https: bool) -> bool:
    """From https to http, but not from http to https: a client that asked in the clear isn't vouched for."""
    return from_https or not to_https
