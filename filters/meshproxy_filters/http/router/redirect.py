"""Redirects that the router follows in the client's place (`internal_redirect_policy`).

The request is pointed at the new place and begins anew as another stream, route, filters and all (`Stream.follow`). If
anything speaks against it the request is left as it was, and the client gets the redirect.

Order of the questions, and what is counted, are Envoy's (its documentation: "Internal redirects"). Only a request that
has come whole, with its body kept, can be sent again: CVE-2022-29227 was about one that wasn't.
"""

from __future__ import annotations

import re

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.model.redirect import InternalRedirects, RedirectHistory
from meshproxy.plugin.context import Stream
from meshproxy.plugin.stats import StatsScope

# scheme "://" [userinfo "@"] host [":" port] [path, query] ["#" fragment]: RFC 3986, in ASCII, as much as Envoy takes.
_TARGET = re.compile(
    r"([A-Za-z]+)://(?:[!$%&'()*+,;=:\w.~-]*@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?"
    r"([/?][!\"$-~]*)?(?:#[!-~]*)?\Z",
    re.ASCII,
)


class RedirectStats:
    """`http.<prefix>.passthrough_internal_redirect_*`: why the client was told."""

    def __init__(self, scope: StatsScope) -> None:
        counter = scope.counter
        self.bad_location = counter("passthrough_internal_redirect_bad_location")
        self.no_route = counter("passthrough_internal_redirect_no_route")
        self.predicate = counter("passthrough_internal_redirect_predicate")
        self.too_many_redirects = counter("passthrough_internal_redirect_too_many_redirects")
        self.unsafe_scheme = counter("passthrough_internal_redirect_unsafe_scheme")


def parse_target(location: str) -> tuple[str, str, str] | None:
    """Scheme, authority and path with query of an absolute `Location`; None for anything else."""
    found = _TARGET.match(location)
    if found is None or int((found[3] or ":0")[1:]) > 65535:
        return None
    path = found[4] or "/"
    return found[1].lower(), found[2] + (found[3] or ""), path if path[0] == "/" else "/" + path


def aim(policy: InternalRedirects, response: ResponseHeaders, stream: Stream, stats: RedirectStats) -> bool:
    """Point the request at where `response` sends it. False: it isn't followed, and the request is as it was."""
    target = parse_target(response.get("location") or "")
    if target is None:
        stats.bad_location.inc()
        return False
    request = stream.request
    from_https = request.scheme != "http" and stream.connection.transport == "tls"
    to_https = target[0] != "http"
    if from_https != to_https and not policy.across_schemes:
        stats.unsafe_scheme.inc()
        return False
    if stream.redirects is None:
        stream.redirects = RedirectHistory()
    history = stream.redirects
    if history.count >= policy.limit:
        stats.too_many_redirects.inc()
        return False
    before = _Before(request)
    _copy_fields(policy.copied, response, request)
    request.scheme, request.authority, request.path = target
    route = stream.match_route()
    if route is None:
        stats.no_route.inc()
        before.restore(request)
        return False
    for accepts in policy.predicates:
        if not accepts(history, stream.route_name, route.name, from_https, to_https):
            stats.predicate.inc()
            before.restore(request)
            return False
    history.count += 1
    request["x-envoy-original-url"] = f"{'https' if from_https else 'http'}://{before.authority}{before.path}"
    stream.clear_route()
    return True


def loses_body(response: ResponseHeaders, request: RequestHeaders) -> bool:
    """303: what is asked for next is asked for with GET (RFC 9110 section 15.4.4). Changes the request accordingly."""
    if response.status != 303 or request.method in ("GET", "HEAD"):
        return False
    request.method = "GET"
    request.remove("content-length")
    return True


def _copy_fields(names: tuple[str, ...], response: ResponseHeaders, request: RequestHeaders) -> None:
    for name in names:
        request.remove(name)
        for value in response.get_all(name):
            request.add(name, value)


class _Before:
    """The head of a request as it was."""

    __slots__ = ("authority", "fields", "path", "repeated", "scheme")

    def __init__(self, request: RequestHeaders) -> None:
        self.scheme, self.authority, self.path = request.scheme, request.authority, request.path
        self.fields, self.repeated = dict(request.fields), request.repeated

    def restore(self, request: RequestHeaders) -> None:
        request.scheme, request.authority, request.path = self.scheme, self.authority, self.path
        request.fields, request.repeated = self.fields, self.repeated
