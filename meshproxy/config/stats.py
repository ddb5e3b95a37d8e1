"""Statistics: which are kept, how their names are taken apart, and the buckets of histograms
(envoy.config.metrics.v3.StatsConfig)."""

from __future__ import annotations

from typing import Any

from meshproxy.config.context import CompileContext
from meshproxy.config.matchers import compile_string_matcher, compile_string_matchers
from meshproxy.matching import regex_matcher
from meshproxy.model.snapshot import StatsConfig, StatsTag
from meshproxy.plugin.view import ConfigView


def compile_stats_config(view: ConfigView | None, flush_interval: float, context: CompileContext) -> StatsConfig:
    """`StatsConfig`. flush_interval: seconds. Problems are noted in the context."""
    if view is None:
        return StatsConfig(flush_interval=flush_interval)
    inclusion, exclusion = None, None
    matcher = view.view("stats_matcher")
    if matcher is not None:
        with matcher.collect(context.problems):
            inclusion, exclusion = _compile_matcher(matcher)
    buckets = []
    for entry in view.views("histogram_bucket_settings"):
        with entry.collect(context.problems):
            buckets.append((compile_string_matcher(entry.required("match")), tuple(entry.numbers("buckets"))))
    return StatsConfig(
        tags=_compile_tags(view, context),
        use_all_default_tags=view.boolean("use_all_default_tags", True),
        inclusion=inclusion,
        exclusion=exclusion,
        buckets=tuple(buckets),
        flush_interval=flush_interval,
    )


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
        if any(tag.name == name and tag.fixed_value is not None for tag in tags):
            context.problems.append(entry.error(f"the tag '{name}' stands twice", "tag_name"))
        if entry.which("tag_value") == "fixed_value":
            tags.append(StatsTag(name, fixed_value=entry.text("fixed_value")))
            continue
        regex = entry.text("regex")
        try:
            regex_matcher(regex)
        except ValueError as error:
            context.problems.append(entry.error(str(error), "regex"))
        tags.append(StatsTag(name, regex=regex or None))
    return tuple(tags)
