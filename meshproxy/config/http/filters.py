"""Filters of all three kinds: from `name` and `typed_config` to a `FilterSpec`
(HttpFilter, listener.v3.Filter and ListenerFilter), and what routes say about HTTP filters.

A filter is found by the full name of its configuration message, whatever its `name`. The class itself reads its
message (`compile`), or gives the dataclass that a `TypedStruct` is read into (`config_type`).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from meshproxy.config.http.header_mutations import compile_mutations, compile_values
from meshproxy.config.http.rate_limits import compile_rate_limits
from meshproxy.config.http.rewrites import compile_redirect
from meshproxy.config.http.route_match import compile_request_match
from meshproxy.config.http.upstream_filters import compile_upstream_filters
from meshproxy.config.matching.matcher_inputs import NETWORK_INPUTS, http_inputs
from meshproxy.config.matching.matcher_tree import compile_matcher
from meshproxy.config.matching.matchers import (
    compile_fraction,
    compile_header_matcher,
    compile_regex_matcher,
    compile_runtime_flag,
    compile_runtime_fraction,
    compile_string_matcher,
)
from meshproxy.config.matching.stream_matchers import compile_filter_state_matcher, compile_metadata_matcher
from meshproxy.config.reporting.access_logs import compile_access_logs
from meshproxy.config.text.constraints import check_constraints
from meshproxy.config.tls.generic_secrets import compile_named_secret
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.data_sources import read_data_source
from meshproxy.config.values.extension_slots import compile_slot, placeholder
from meshproxy.config.values.formats import compile_substitution_format
from meshproxy.config.values.forwarding import compile_dns_cache
from meshproxy.config.values.grpc_services import compile_grpc_service
from meshproxy.config.values.proxy_header import compile_entry_value
from meshproxy.errors import ConfigError, Problem
from meshproxy.messages.by_name import message_class
from meshproxy.model.extension_slot import RouteOverride
from meshproxy.model.listener import FilterSpec, LogPredicate
from meshproxy.model.route import FILTER_DISABLED, FILTER_ENABLED
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.registry import FilterClass, UnknownFilter
from meshproxy.plugin.secret import LiveSecret
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.typed_struct import read_struct
from meshproxy.plugin.view import ConfigView, TypedView
from meshproxy.plugin.view_record import NoSuchField
from meshproxy.records import dataclass

_CORS = "envoy.extensions.filters.http.cors.v3.Cors"
_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"

Level = Mapping[str, Any]
"""What one level (route, virtual host...) says about filters: name -> configuration, or one of the two marks."""

CompileMessage = Callable[[FilterClass, ConfigView, FactoryContext], Any]


def factory_context(name: str, stats: StatsScope, context: CompileContext) -> FactoryContext:
    """What a filter called `name` is given."""
    log = context.make_logger(name)
    secrets: list[Any] = []

    def compile_secret(view: ConfigView) -> LiveSecret:
        secret = compile_named_secret(view, context, log)
        if secret.awaited:
            secrets.append(secret)
        return secret

    def compile_inner(view: ConfigView) -> FilterSpec:
        spec = compile_filter(view, "HTTP", stats, context)
        secrets.extend(spec.context.awaited_secrets)
        return spec

    return FactoryContext(
        name=name,
        stats=stats,
        root_stats=context.stats,
        log=log,
        clock=context.clock,
        rng=context.rng,
        node=context.node,
        runtime=context.runtime,
        compile_access_logs=lambda views: compile_access_logs(views, context),
        compile_format=context.formats.text,
        compile_body_format=lambda view: compile_substitution_format(view, context).make,
        compile_header_format=context.formats.header,
        compile_tlv_value=lambda view: compile_entry_value(view, context),
        compile_header_mutations=lambda additions, removals: compile_mutations(additions, removals, context),
        compile_string_matcher=compile_string_matcher,
        compile_regex_matcher=compile_regex_matcher,
        compile_header_matcher=compile_header_matcher,
        compile_fraction=compile_fraction,
        compile_runtime_fraction=lambda view: compile_runtime_fraction(view, context),
        compile_data_source=lambda view: read_data_source(view, context),
        compile_rate_limits=lambda views: compile_rate_limits(views, context, of_filter=True),
        compile_header_values=lambda views: compile_values(views, context),
        compile_metadata_matcher=compile_metadata_matcher,
        compile_filter_state_matcher=compile_filter_state_matcher,
        compile_route_match=compile_request_match,
        compile_redirect=lambda view: compile_redirect(view).location,
        compile_runtime_flag=lambda view: compile_runtime_flag(view, context),
        compile_expression=_compile_tree_expression,
        compile_http_matcher=lambda view, action, inputs: compile_matcher(view, action, http_inputs(inputs), context),
        compile_network_matcher=lambda view, action: compile_matcher(view, action, NETWORK_INPUTS, context),
        compile_attribute=lambda text: _compile_attribute(text, context),
        compile_attribute_text=lambda text: _compile_attribute_text(text, context),
        compile_http_filter=compile_inner,
        compile_upstream_filters=lambda views: compile_upstream_filters(views, compile_inner),
        compile_grpc_service=lambda view: compile_grpc_service(view, context),
        compile_dns_cache=lambda view: compile_dns_cache(view, context),
        compile_secret=compile_secret,
        awaited_secrets=secrets,
        shared_objects=context.shared_objects,
        traffic_direction=context.traffic_direction,
        scheme_of_upstream=context.scheme_of_upstream,
    )


def is_discovered(view: ConfigView) -> bool:
    """Whether the configuration of a filter comes by discovery; what stands for one filter in another's doesn't."""
    return not view.full_name.endswith(".TypedExtensionConfig") and view.has("config_discovery")


def find_filter_config(view: ConfigView) -> TypedView:
    """The `typed_config` of a filter. Raises ConfigError when there is none."""
    typed = view.any("typed_config")
    if typed is None:
        view.fail("'typed_config' is required: a filter is found by the type of its configuration, not by its name")
    return typed


def find_class(typed: TypedView, kind: str, context: CompileContext) -> FilterClass:
    """The class for a configuration. kind: "HTTP", "network" or "listener". Raises ConfigError."""
    try:
        return context.registry.find(typed.full_name, kind)
    except UnknownFilter as error:
        raise ConfigError(typed.error(str(error))) from error


def compile_filter(
    view: ConfigView,
    kind: str,
    stats: StatsScope,
    context: CompileContext,
    compile_with: Callable[[CompileContext], CompileMessage] = lambda context: _own_compile,
    disabled: bool = False,
) -> FilterSpec:
    """One filter. compile_with: gives what is used in place of the class's own `compile`. Raises ConfigError."""
    name = view.text("name")

    def compile_typed(typed: TypedView, context: CompileContext) -> FilterSpec:
        filter_class = find_class(typed, kind, context)
        factory = factory_context(name, stats, context)
        config = _compile_config(filter_class, typed, factory, compile_with(context))
        return FilterSpec(name, filter_class, config, factory, disabled)

    if is_discovered(view):
        slot = compile_slot(view, name, kind, context, compile_typed)
        return placeholder(slot, factory_context(name, stats, context), disabled=disabled)
    return compile_typed(find_filter_config(view), context)


def _own_compile(filter_class: FilterClass, message: ConfigView, factory: FactoryContext) -> Any:
    return filter_class.compile(message, factory)


def _compile_config(
    filter_class: FilterClass, typed: TypedView, factory: FactoryContext, compile_message: CompileMessage
) -> Any:
    if typed.struct is not None and filter_class.config_type is not None:
        config = read_struct(typed.struct, filter_class.config_type)
        try:
            return filter_class.compile_struct(config, factory)
        except ConfigError:
            raise
        except ValueError as error:
            typed.fail(str(error))
        except Exception as error:  # foreign code: its author is told where, and everybody else of which filter
            place = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{place.filename}:{place.lineno}"
            typed.fail(f"{filter_class.__qualname__}.compile_struct raised {type(error).__name__}: {error} ({at})")
    return compile_message(filter_class, _as_message(typed), factory)


def _as_message(typed: TypedView) -> ConfigView:
    """The message of a configuration; a `TypedStruct` that stands for one of Envoy's messages is made into it."""
    if typed.view is not None:
        return typed.view
    message_type = message_class(typed.full_name)
    if message_type is None or typed.struct is None:
        typed.fail(
            f"'{typed.full_name}' takes its configuration as a message, not as a TypedStruct: "
            "its class names no dataclass in `config_type`"
        )
    message = read_struct(typed.struct, message_type)
    problems, _ = check_constraints(message, typed.struct.place, source=typed.source, path=typed.path)
    if problems:
        raise ConfigError(problems)
    typed.view = ConfigView(message, path=typed.path, place=typed.struct.place, source=typed.source)
    return typed.view


def compile_chain(
    views: Sequence[ConfigView],
    kind: str,
    compile_one: Callable[[ConfigView], FilterSpec | None],
    context: CompileContext,
) -> tuple[FilterSpec, ...]:
    """A chain of HTTP or network filters: exactly its last filter is terminal. Problems are noted in the context."""
    specs: list[FilterSpec] = []
    complete = True
    for index, view in enumerate(views):
        spec: FilterSpec | None = None
        count = len(context.problems)
        with view.collect(context.problems):
            spec = compile_one(view)
        if spec is None:
            complete = complete and len(context.problems) == count
            continue
        specs.append(spec)
        last = index == len(views) - 1
        if spec.slot is not None:
            spec.slot.last = last
            spec = spec.slot.default
            if spec is None:
                continue  # what comes is looked at when it comes
        name = f"'{spec.name}' ({spec.filter_class.__name__})"
        if spec.filter_class.terminal and not last:
            message = f"terminal filter {name} must be the last filter in a {kind} filter chain"
            context.problems.append(view.error(message))
        elif last and spec.disabled:
            context.problems.append(view.error(f"terminal filter {name} can't be disabled", "disabled"))
        elif last and not spec.filter_class.terminal:
            message = f"non-terminal filter {name} is the last filter in a {kind} filter chain"
            context.problems.append(view.error(message))
    return tuple(specs)


def compile_filter_level(view: ConfigView, filters: Mapping[str, FilterSpec], context: CompileContext) -> Level:
    """A `typed_per_filter_config`. filters: those of the chain, by name. Problems are noted in the context.

    What names a filter that the chain doesn't have can't act, there as here; that is a warning.
    """
    level: dict[str, Any] = {}
    with view.collect(context.problems):
        for name, typed in view.any_map("typed_per_filter_config").items():
            spec = filters.get(name)
            if spec is None:
                message = f"no filter is called '{name}' in this chain: its configuration here has no effect"
                context.warnings.append(typed.error(message))
                continue
            with _noting(context.problems):
                level[name] = _compile_route_config(spec, typed)
    return level


@dataclass(frozen=True, slots=True)
class OlderConfig:
    """A configuration from an older field, which counts only where there is none from a newer."""

    config: Any


def compile_older_cors(
    view: ConfigView, filters: Mapping[str, FilterSpec], context: CompileContext
) -> tuple[Level, ...]:
    """`cors` of a `VirtualHost` or `RouteAction`, which says what a route configures of the filter of that name.

    Problems are noted in the context.
    """
    cors = view.view("cors")
    if cors is None:
        return ()
    with cors.collect(context.problems):
        try:
            cors_class = context.registry.find(_CORS, "HTTP")
        except UnknownFilter:
            cors_class = None
        for name, spec in filters.items():
            if spec.filter_class is cors_class and issubclass(spec.filter_class, HttpFilter):
                return ({name: OlderConfig(spec.filter_class.compile_route(cors, spec.context))},)
        cors.raw()  # nobody looks at it
    return ()


def _compile_route_config(spec: FilterSpec, typed: TypedView) -> Any:
    if spec.slot is None:
        return _compile_for_class(spec, spec.filter_class, typed)
    faults: ConfigError | None = None
    for filter_class in spec.slot.classes:  # which of them will be there isn't known; nearly always there is one
        try:
            config = _compile_for_class(spec, filter_class, typed)
        except ConfigError as error:
            faults = faults or error
        else:
            marks = (FILTER_DISABLED, FILTER_ENABLED)
            return config if config in marks else RouteOverride(filter_class, config)
    assert faults is not None
    raise faults


def _compile_for_class(spec: FilterSpec, filter_class: FilterClass, typed: TypedView) -> Any:
    if typed.view is not None and typed.full_name == _FILTER_CONFIG:
        view = typed.view
        view.boolean("is_optional")
        if view.boolean("disabled"):
            view.raw()
            return FILTER_DISABLED
        if not view.has("config"):
            view.fail(f"empty per-filter configuration for '{spec.name}'")
        inner = view.any("config")
        if inner is None:
            return FILTER_ENABLED
        typed = inner

    def compile_route(filter_class: FilterClass, view: ConfigView, factory: FactoryContext) -> Any:
        assert issubclass(filter_class, HttpFilter)
        return filter_class.compile_route(view, factory)

    try:
        return _compile_config(filter_class, typed, spec.context, compile_route)
    except NoSuchField:
        typed.fail(f"'{typed.full_name}' isn't what the filter '{spec.name}' takes from routes")


def merge_levels(levels: Sequence[Level], filters: Mapping[str, FilterSpec]) -> Level:
    """What holds for a route. levels: the most specific first.

    Whether a filter runs, the most specific level that names it decides; which configuration it has, the filter's
    class: nearly always the one of the most specific level that has one.
    """
    merged: dict[str, Any] = {}
    for name in {name for level in levels for name in level}:
        said = [level[name] for level in levels if name in level]
        if said[0] is FILTER_DISABLED:
            merged[name] = FILTER_DISABLED
        else:
            configs = [config for config in said if config is not FILTER_DISABLED and config is not FILTER_ENABLED]
            newer = [config for config in configs if not isinstance(config, OlderConfig)]
            configs = newer or [config.config for config in configs]
            merged[name] = _merge(filters[name].filter_class, configs) if configs else FILTER_ENABLED
    return merged


def _merge(filter_class: FilterClass, configs: list[Any]) -> Any:
    assert issubclass(filter_class, HttpFilter)
    first = configs[0]
    if not isinstance(first, RouteOverride):
        return filter_class.merge_levels(configs)
    same = [override.config for override in configs if override.filter_class is first.filter_class]
    return RouteOverride(first.filter_class, first.filter_class.merge_levels(same))


@contextmanager
def _noting(problems: list[Problem]) -> Iterator[None]:
    """Add the problems of a ConfigError raised inside to `problems` and go on."""
    try:
        yield
    except ConfigError as error:
        problems += error.problems


def _compile_attribute(text: str, context: CompileContext) -> Callable[[Any], Any]:
    from meshproxy.cel.expression import compile_plain  # few configurations have expressions

    return compile_plain(text, context.surroundings)


def _compile_attribute_text(text: str, context: CompileContext) -> Callable[[Any], str | None]:
    from meshproxy.cel.expression import Options, compile_text  # as above

    return compile_text(text, context.surroundings, Options(conversion=True, concatenation=True))


def _compile_tree_expression(view: ConfigView, options: ConfigView | None) -> LogPredicate:
    from meshproxy.config.values.expressions import compile_tree_expression  # as above

    return compile_tree_expression(view, options)
