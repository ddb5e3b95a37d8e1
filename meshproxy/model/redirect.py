"""Redirects that the proxy follows in the client's place (envoy.config.route.v3.InternalRedirectPolicy)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from meshproxy.records import dataclass


@dataclass(slots=True)
class RedirectHistory:
    """What has been followed for one request so far; goes along from stream to stream.

    count: how often. followed: route whose policy remembers -> names of the routes that it has led to.
    cause: what else began the request again, for whoever did that; None for nothing.
    """

    count: int = 0
    followed: dict[str, set[str]] = field(default_factory=dict)
    cause: object = None


RedirectPredicate = Callable[[RedirectHistory, str, str, bool, bool], bool]
"""Whether to follow: asked with the history, the names of the route that was redirected and of the one that it would
lead to, whether the client's request came by https, and whether the target is https."""


@dataclass(frozen=True, slots=True, eq=False)
class InternalRedirects:
    """limit: how many redirects of one request are followed. codes: statuses of responses that may be.

    across_schemes: also from http to https and back. copied: fields of the response that the next request gets.
    """

    limit: int = 1
    codes: frozenset[int] = frozenset((302,))
    predicates: tuple[RedirectPredicate, ...] = ()
    across_schemes: bool = False
    copied: tuple[str, ...] = ()
