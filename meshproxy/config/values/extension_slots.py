"""Filters whose configuration comes by discovery (envoy.config.core.v3.ExtensionConfigSource).

What may come is said in place: the types, and a default. Whatever comes is compiled for the place where it stands, and
taken or refused as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.discovery import compile_config_source
from meshproxy.errors import ConfigError
from meshproxy.messages.by_name import name_of_type_url
from meshproxy.model.extension_slot import ExtensionSlot
from meshproxy.model.listener import FilterSpec
from meshproxy.plugin.registry import FilterClass, UnknownFilter
from meshproxy.plugin.view import ConfigView, TypedView

CompileTyped = Callable[[TypedView, CompileContext], FilterSpec]


def compile_slot(
    view: ConfigView, name: str, kind: str, context: CompileContext, compile: CompileTyped
) -> ExtensionSlot:
    """The `config_discovery` of a filter called `name`. compile: what any filter here is compiled by."""
    discovery = view.required("config_discovery")
    source = compile_config_source(discovery.required("config_source"), context)
    types = [name_of_type_url(url) for url in discovery.texts("type_urls")]
    classes = [_find_class(discovery, full_name, kind, context) for full_name in types]

    def compile_typed(typed: TypedView, own: CompileContext) -> FilterSpec:
        if typed.full_name not in types:
            typed.fail(f"Error: filter config has type URL {typed.full_name} but expect {', '.join(types)}.")
        spec = compile(typed, own)
        if spec.context.awaited_secrets:
            typed.fail("a secret of a management server isn't supported by meshproxy in a filter that is discovered")
        fault = _misplaced(spec, slot.last, kind)
        if fault:
            typed.fail(f"Error: {fault}")
        return spec

    def compile_resource(resource: ConfigView) -> FilterSpec:
        own = replace(context, problems=[], warnings=[], log_files={})
        resource.text("name")
        typed = resource.any("typed_config")
        if typed is None:
            resource.fail("'typed_config' is required", "typed_config")
        spec = compile_typed(typed, own)
        problems = [*own.problems, *own.log_files.values(), *resource.unread_problems()]
        if problems:
            raise ConfigError(problems)
        return spec

    at_once = discovery.boolean("apply_default_config_without_warming")
    default = discovery.any("default_config")
    if at_once and default is None:
        discovery.fail(f"Error: filter config {name} applied without warming but has no default config.")
    slot = ExtensionSlot(name, kind, source, classes, compile_resource, at_once=at_once)
    if default is not None:
        slot.default = compile_typed(default, context)
    if at_once:
        slot.spec = slot.default
    return slot


def _find_class(view: ConfigView, full_name: str, kind: str, context: CompileContext) -> FilterClass:
    try:
        return context.registry.find(full_name, kind)
    except UnknownFilter as error:
        view.fail(f"Error: no factory found for a required type URL {full_name}: {error}", "type_urls")


def _misplaced(spec: FilterSpec, last: bool | None, kind: str) -> str:
    """What is wrong with a filter at this place of its chain, "" for nothing."""
    terminal = getattr(spec.filter_class, "terminal", False)
    if last is None or terminal == last:
        return ""
    named = f"filter named {spec.name} of type {spec.filter_class.__name__}"
    if terminal:
        return f"terminal {named} must be the last filter in a {kind} filter chain."
    return f"non-terminal {named} is the last filter in a {kind} filter chain."


def placeholder(slot: ExtensionSlot, factory: Any, *, disabled: bool) -> FilterSpec:
    """What stands in the chain for a slot."""
    return FilterSpec(slot.name, slot.classes[0], None, factory, disabled, slot=slot)
