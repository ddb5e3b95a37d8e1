"""The redirect policy of `custom_response`: another place answers in place of a response.

The request begins anew as a GET for that place, route, filters and all (`Stream.follow`). The answer that comes of it
gets the policy's fields, and its status or else that of the response that it stands for; it isn't looked at by any
policy again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from meshproxy.absolute_url import parse_absolute_url
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.model.redirect import RedirectHistory
from meshproxy.model.route import HeaderMutations
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.mutations import apply_mutations
from meshproxy.plugin.stats import Counter
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

REDIRECT = "envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy"


@dataclass(frozen=True, slots=True, eq=False)
class RedirectPolicy:
    """location: the URI for a request. status: None keeps that of the response that is replaced."""

    location: Callable[[RequestHeaders, Stream], str]
    status: int | None
    request_mutations: tuple[HeaderMutations, ...]
    response_mutations: tuple[HeaderMutations, ...]
    no_route: Counter
    invalid: Counter

    def follow(self, response: ResponseHeaders, stream: Stream) -> None:
        """Begin the request anew, if it has come whole and there is a route for it."""
        if not stream.request_complete:
            return
        request = stream.request
        scheme, separator, rest = self.location(request, stream).partition("#")[0].partition("://")
        found = parse_absolute_url(f"{scheme}{separator}{rest}")
        if found is None:
            self.invalid.value += 1
            return
        before = request.scheme, request.authority, request.path
        path = f"/{rest.partition('/')[2]}"
        request.scheme, request.authority, request.path = scheme.lower(), found.host_and_port, path
        apply_mutations(self.request_mutations, request, stream)
        if stream.match_route() is None:
            self.no_route.value += 1
            request.scheme, request.authority, request.path = before
            return
        request.method = "GET"
        request.remove("content-length")
        stream.redirects = stream.redirects or RedirectHistory()
        stream.redirects.cause = Redirected(self, self.status or response.status)
        stream.clear_route()
        stream.follow(response, b"")


@dataclass(frozen=True, slots=True)
class Redirected:
    """What became of a request. status: for the answer."""

    policy: RedirectPolicy
    status: int

    def shape(self, response: ResponseHeaders, stream: Stream) -> None:
        """The answer has come."""
        apply_mutations(self.policy.response_mutations, response, stream)
        response.status = stream.response_code = self.status


def read_redirect(view: ConfigView, context: FactoryContext) -> RedirectPolicy:
    """Raises ConfigError."""
    scope = context.stats
    request, response = (
        context.compile_header_mutations(view.views(name), ())
        for name in ("request_headers_to_add", "response_headers_to_add")
    )
    status = view.view("status_code")
    return RedirectPolicy(
        _read_location(view, context),
        status.integer("value") if status is not None else None,
        (request,) if request is not None else (),
        (response,) if response is not None else (),
        scope.counter("custom_response_redirect_no_route"),
        scope.counter("custom_response_invalid_uri"),
    )


def _read_location(view: ConfigView, context: FactoryContext) -> Callable[[RequestHeaders, Stream], str]:
    kind = view.which("redirect_action_specifier")
    if kind == "redirect_action":
        action = view.required(kind)
        for name in ("regex_rewrite", "prefix_rewrite"):
            if action.has(name):
                action.fail(f"{name} is not supported for Custom Response", name)
        path = action.text("path_redirect")
        if "#" in path:
            message = "#fragment is not supported for custom response. Specified path_redirect is "
            action.fail(f"{message}{path}", "path_redirect")
        return context.compile_redirect(action)
    uri = view.text("uri")
    if parse_absolute_url(uri) is None:
        view.fail(f"Invalid uri specified for redirection for custom response: {uri}", "uri")
    return lambda request, stream: uri
