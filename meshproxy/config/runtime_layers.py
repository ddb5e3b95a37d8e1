"""The static layers of Envoy's runtime, merged into one mapping (envoy.config.bootstrap.v3.LayeredRuntime)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from meshproxy.config.context import CompileContext
from meshproxy.plugin.view import ConfigView

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def compile_runtime(view: ConfigView | None, context: CompileContext) -> Mapping[str, Any]:
    """Values by dotted key; a later layer wins. Problems are noted in the context."""
    values: dict[str, Any] = {}
    names: set[str] = set()
    has_admin = False
    for layer in view.views("layers") if view is not None else ():
        with layer.collect(context.problems):
            name = layer.text("name")
            if name in names:
                layer.fail(f"duplicate layer name: {name}", "name")
            names.add(name)
            kind = layer.which("layer_specifier")
            if kind == "static_layer":
                static = layer.struct("static_layer")
                assert static is not None
                _flatten(static.value, "", values, layer)
            elif kind == "admin_layer":
                layer.required("admin_layer")
                if has_admin:
                    layer.fail("Too many admin layers specified in LayeredRuntime, at most one may be specified", kind)
                has_admin = True
            else:
                layer.fail(f"'{kind}' isn't supported by meshproxy" if kind else "a layer needs a kind", kind or "")
    return values


def _flatten(struct: Mapping[str, Any], prefix: str, values: dict[str, Any], layer: ConfigView) -> None:
    """`{a: {b: 1}}` and `{a.b: 1}` say the same; a share of traffic stays one value. Raises ConfigError."""
    for name, value in struct.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and not ({"numerator", "denominator"} & value.keys()):
            _flatten(value, f"{key}.", values, layer)
        elif value is None or isinstance(value, list):
            layer.fail(f"Invalid runtime entry value for {key}", "static_layer")
        else:
            values[key] = parse_runtime_text(value) if isinstance(value, str) else value


def parse_runtime_text(text: str) -> Any:
    """What a value that was written as text stands for, as in Envoy: a number, a boolean, else the text."""
    stripped = text.strip()
    if stripped.lower() in ("true", "false"):
        return stripped.lower() == "true"
    if _NUMBER.fullmatch(stripped):
        number = float(stripped)
        return int(number) if number.is_integer() else number
    return text
