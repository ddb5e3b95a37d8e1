"""Statistics: which are kept, how their names are taken apart, and the buckets of histograms
(envoy.config.metrics.v3.StatsConfig)."""

from __future__ import annotations

from typing import Any

from meshproxy.config.matching.matchers import compile_string_matcher, compile_string_matchers
from meshproxy.config.values.context import CompileContext
from meshproxy.model.snapshot import StatsConfig, StatsTag
from meshproxy.plugin.view import ConfigView
from meshproxy.tag_regex import DEFAULT_TAGS, tag_regex


def compile_stats_config(bootstrap: ConfigView, context: CompileContext) -> StatsConfig:
    """`stats_config` and what the bootstrap says of statistics beside it. Problems are noted in the context."""
    flush_interval = bootstrap.seconds("stats_flush_interval", 5.0)
    _check_eviction(bootstrap, flush_interval, context)
    override = "stats_server_version_override"
    version = bootstrap.integer(override) if bootstrap.has(override) else None
    view = bootstrap.view("stats_config")
    if view is None:
        return StatsConfig(flush_interval=flush_interval, server_version=version)
    inclusion, exclusion = None, None
    matcher = view.view("stats_matcher")
    if matcher is not None:
        with matcher.collect(context.problems):
            inclusion, exclusion = _compile_matcher(matcher)
    buckets = []
    for entry in view.views("histogram_bucket_settings"):
        with entry.collect(context.problems):
            matches, bounds = compile_string_matcher(entry.required("match")), tuple(entry.numbers("buckets"))
            if bounds:
                buckets.append((matches, bounds))
    return StatsConfig(
        tags=_compile_tags(view, context),
        use_all_default_tags=view.boolean("use_all_default_tags", True),
        inclusion=inclusion,
        exclusion=exclusion,
        buckets=tuple(buckets),
        flush_interval=flush_interval,
        server_version=version,
    )


def _check_eviction(view: ConfigView, flush_interval: float, context: CompileContext) -> None:
    """`stats_eviction_interval`: only statistics that an extension of Envoy's marks are ever dropped; here are none."""
    interval = view.seconds("stats_eviction_interval", 0.0)
    if round(interval * 1000) % round(flush_interval * 1000):
        message = "stats_eviction_interval must be a multiple of stats_flush_interval"
        context.problems.append(view.error(message, "stats_eviction_interval"))


def _compile_matcher(view: ConfigView) -> tuple[Any, Any]:
    kind = view.which("stats_matcher")
    if kind == "inclusion_list":
        return compile_string_matchers(view.required(kind), "patterns"), None
    if kind == "exclusion_list":
        return None, compile_string_matchers(view.required(kind), "patterns")
    reject = view.boolean("reject_all")
    return ((lambda name: False), None) if reject else (None, None)


def _compile_tags(view: ConfigView, context: CompileContext) -> tuple[StatsTag, ...]:
    tags: list[StatsTag] = []
    for entry in view.views("stats_tags"):
        name = entry.text("tag_name")
        if entry.which("tag_value") == "fixed_value":
            tags.append(StatsTag(name, fixed_value=entry.text("fixed_value")))
            continue
        regex = entry.text("regex")
        try:
            if regex:
                tag_regex(regex)
            elif name not in DEFAULT_TAGS:
                raise ValueError(f"No regex specified for tag specifier and no default regex for name: '{name}'")
        except ValueError as error:
            context.problems.append(entry.error(str(error), "regex"))
        tags.append(StatsTag(name, regex=regex or None))
    return tuple(tags)
