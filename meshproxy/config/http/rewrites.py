"""What a route makes of a path or an authority: rewrites, and the `Location` of redirects.

Plain values to closures, without protobuf. The results are Envoy's, byte for byte: the rules stand in its API
(`RouteAction.prefix_rewrite`, `regex_rewrite`, `RedirectAction`) and were compared with Envoy 1.40 where it is silent:
what is kept of a query, when a port is left out, and which scheme a `Location` has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.headers import RequestHeaders
from meshproxy.matching import wire_text
from meshproxy.model.route import PathMatch, PathRewrite, ValueFormatter
from meshproxy.plugin.view import ConfigView
from meshproxy.records import dataclass


def split_path(path: str) -> tuple[str, str]:
    """A request target as the path itself and what follows it: the query with its `?`, or a fragment."""
    alone, mark, rest = path.partition("?")
    if "#" in alone:
        alone, mark, rest = path.partition("#")
    return alone, mark + rest


def prefix_rewriter(match: PathMatch, replacement: str) -> PathRewrite:
    """Replaces the part of the path that the route matched: its prefix, or the whole path without query."""
    if match.kind in ("prefix", "path", "path_separated_prefix"):
        length = len(match.value)
        return lambda path: replacement + path[length:]
    return lambda path: replacement + split_path(path)[1]


def regex_rewriter(replace: Callable[[str], str]) -> PathRewrite:
    """Runs `replace` over the path without its query, whatever part of it the route matched."""

    def rewrite(path: str) -> str:
        alone, rest = split_path(path)
        replaced = replace(alone)
        return replaced + rest if replaced else ""

    return rewrite


def with_path_only(replace: Callable[[str], str]) -> Callable[[str], str]:
    """For `host_rewrite_path_regex`: the new authority from a path, of which the query is dropped first."""
    return lambda path: replace(split_path(path)[0])


@dataclass(frozen=True, slots=True)
class Redirect:
    """`RedirectAction`, as far as the target depends on it.

    scheme: "" keeps the request's. port: 0 keeps it. path: `path_redirect`, "" keeps the path; format_path: makes one.
    rewrite_path: `prefix_rewrite` or `regex_rewrite`, applied to the request's path with its query.
    """

    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    format_path: ValueFormatter | None = None
    rewrite_path: PathRewrite | None = None
    strip_query: bool = False

    def location(self, request: RequestHeaders, stream: Any) -> str:
        """The absolute URI that a request is sent to."""
        scheme = self.scheme or request.scheme
        port = f":{self.port}" if self.port else ""
        host = self.host or _kept_authority(request, scheme, port)
        target = self._target(request.path, self.path if self.format_path is None else self.format_path(stream))
        slash = "" if target.startswith("/") else "/"
        return f"{scheme}://{host}{port}{slash}{target}"

    def _target(self, path: str, new: str) -> str:
        if new:
            if "?" in new:
                return new  # its own query, which isn't stripped
            path = new + "".join(path.partition("?")[1:])
        elif self.rewrite_path is not None:
            path = self.rewrite_path(path) or path
        return path.partition("?")[0] if self.strip_query else path


def compile_redirect(view: ConfigView) -> Redirect:
    """`RedirectAction`, as far as it is the same for all paths."""
    return Redirect(
        scheme=_redirect_scheme(view),
        host=wire_text(view.text("host_redirect")),
        port=view.integer("port_redirect"),
        path=wire_text(view.text("path_redirect")),
        strip_query=view.boolean("strip_query"),
    )


def _redirect_scheme(view: ConfigView) -> str:
    if view.which("scheme_rewrite_specifier") == "scheme_redirect":
        return view.text("scheme_redirect")
    return "https" if view.boolean("https_redirect") else ""


_DEFAULT_PORTS = {"http": "80", "https": "443"}


def _kept_authority(request: RequestHeaders, scheme: str, port: str) -> str:
    """The request's authority, without its port when another one follows or when it was the old scheme's default."""
    authority = request.authority
    host, colon, old_port = authority.rpartition(":")
    if not colon or (authority.startswith("[") and not host.endswith("]")):
        return authority
    forwarded = request.get("x-forwarded-proto") or ""
    default = _DEFAULT_PORTS.get(forwarded)
    if port or (scheme != forwarded and old_port == default):
        return host
    return authority
