"""Headers of the PROXY protocol towards hosts (envoy.config.core.v3.ProxyProtocolConfig)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.formats import compile_substitution_format
from meshproxy.model.proxy_header import ProxyHeaderOptions, TlvSource
from meshproxy.plugin.view import ConfigView


def compile_proxy_header(view: ConfigView | None, context: CompileContext) -> ProxyHeaderOptions:
    """`core.v3.ProxyProtocolConfig`. Raises ConfigError."""
    if view is None:
        return ProxyHeaderOptions()
    version = 1 if view.enum("version") == "V1" else 2
    passed = view.view("pass_through_tlvs")
    return ProxyHeaderOptions(
        version,
        compile_passed(passed) if passed is not None else frozenset(),
        tuple(_compile_entry(entry, version, context) for entry in view.views("added_tlvs")),
    )


def compile_passed(view: ConfigView) -> frozenset[int] | None:
    """`ProxyProtocolPassThroughTLVs`: types, None for all. Raises ConfigError."""
    types = view.integers("tlv_type")
    return None if view.enum("match_type") == "INCLUDE_ALL" else frozenset(types)


def _compile_entry(view: ConfigView, version: int, context: CompileContext) -> TlvSource:
    if version == 1:
        view.fail("a header of version 1 has no TLVs")
    return view.integer("type"), compile_entry_value(view, context)


def compile_entry_value(view: ConfigView, context: CompileContext) -> Callable[[Any], bytes]:
    """The value of a `TlvEntry`. Raises ConfigError."""
    value, form = view.data("value"), view.view("format_string")
    if form is None:
        if not value:
            view.fail("one of 'value' and 'format_string' is required")
        return lambda stream: value
    if value:
        view.fail("only one of 'value' and 'format_string' can be set", "format_string")
    make = compile_substitution_format(form, context).make
    return lambda stream: make(stream).encode("latin-1", "replace")
