"""Mirroring (envoy.config.route.v3.RouteAction.RequestMirrorPolicy): of a route, a virtual host or a table."""

from __future__ import annotations

from collections.abc import Collection

from meshproxy.config.http.header_mutations import compile_change
from meshproxy.config.matching.matchers import compile_runtime_fraction
from meshproxy.config.values.context import CompileContext
from meshproxy.headers import check_name
from meshproxy.matching import wire_text
from meshproxy.model.mirror import MirrorPolicy
from meshproxy.plugin.view import ConfigView


def compile_mirrors(
    view: ConfigView, context: CompileContext, known: Collection[str] | None
) -> tuple[MirrorPolicy, ...]:
    """`request_mirror_policies` of a message. known: the clusters there are, None to take any name.

    Problems are noted in the context.
    """
    mirrors = []
    for entry in view.views("request_mirror_policies"):
        with entry.collect(context.problems):
            mirrors.append(_compile_mirror(entry, context, known))
    return tuple(mirrors)


def _compile_mirror(view: ConfigView, context: CompileContext, known: Collection[str] | None) -> MirrorPolicy:
    cluster, header = view.text("cluster"), view.text("cluster_header").lower()
    if cluster and header:
        view.fail("Only one of cluster or cluster_header in request mirror policy can be specified", "cluster_header")
    if not cluster and not header:
        view.fail("Exactly one of cluster or cluster_header in request mirror policy need to be specified")
    if cluster and known is not None and cluster not in known:
        view.fail(f"route: unknown shadow cluster '{cluster}'", "cluster")
    fraction = view.view("runtime_fraction")
    return MirrorPolicy(
        cluster=cluster,
        cluster_header=check_name(header) if header and header != ":authority" else header,
        covers=compile_runtime_fraction(fraction, context).covers if fraction is not None else None,
        append_shadow=not view.boolean("disable_shadow_host_suffix_append"),
        sampled=view.boolean("trace_sampled") if view.has("trace_sampled") else None,
        host_rewrite=wire_text(view.text("host_rewrite_literal")),
        mutations=tuple(compile_change(entry, context) for entry in view.views("request_headers_mutations")),
    )
