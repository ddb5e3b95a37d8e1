"""The layers of Envoy's runtime, and what the values in them mean (envoy.config.bootstrap.v3.LayeredRuntime).

There are two kinds of text. A static layer and one of RTDS are a `Struct`: nested mappings are dotted keys, and a text
in it is a number if it reads as one, but never a flag or a share. A file of a disk layer and what the admin interface
is given are YAML, of which everything can be told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from google.protobuf.struct_pb2 import Struct

from meshproxy.config.text.yaml_tree import read_value
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.discovery import compile_config_source
from meshproxy.model.discovery import Resource
from meshproxy.model.runtime_layer import RuntimeEntry, RuntimeLayer, values_of
from meshproxy.plugin.view import ConfigView
from meshproxy.runtime_values import RuntimeValues

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SHARE_FIELDS = frozenset(("numerator", "denominator"))


def compile_layers(view: ConfigView | None, context: CompileContext) -> tuple[RuntimeLayer, ...]:
    """Every layer, and in the context the values that hold from the start. Problems are noted in the context."""
    if view is None:
        context.runtime = RuntimeValues(fixed=True)
        return ()
    layers: list[RuntimeLayer] = []
    names: set[str] = set()
    for each in view.views("layers"):
        with each.collect(context.problems):
            layer = _compile_layer(each, context)
            if layer.name in names:
                each.fail(f"duplicate layer name: {layer.name}", "name")
            names.add(layer.name)
            if layer.kind == "admin" and any(other.kind == "admin" for other in layers):
                each.fail(
                    "Too many admin layers specified in LayeredRuntime, at most one may be specified", "admin_layer"
                )
            layers.append(layer)
    if not view.has("layers"):
        layers.append(RuntimeLayer("", "admin"))  # as in Envoy: whoever speaks of a runtime can change it
    context.runtime = RuntimeValues(values_of([layer.entries for layer in layers]))  # a reload may bring other layers
    return tuple(layers)


def _compile_layer(view: ConfigView, context: CompileContext) -> RuntimeLayer:
    name = view.text("name")
    kind = view.which("layer_specifier")
    if kind == "static_layer":
        static = view.struct("static_layer")
        assert static is not None
        return RuntimeLayer(name, "static", struct_entries(static.value, lambda text: view.fail(text, "static_layer")))
    if kind == "admin_layer":
        view.required("admin_layer")
        return RuntimeLayer(name, "admin")
    if kind == "disk_layer":
        return _compile_disk(name, view.required(kind), context)
    if kind == "rtds_layer":
        rtds = view.required(kind)
        source = compile_config_source(rtds.required("rtds_config"), context)
        return RuntimeLayer(name, "rtds", resource=rtds.text("name"), source=source)
    view.fail("layer specifier not set")


def _compile_disk(name: str, view: ConfigView, context: CompileContext) -> RuntimeLayer:
    link = view.text("symlink_root")
    if not os.path.isdir(os.path.dirname(link) or "."):
        view.fail(f"nothing can be watched at '{link}': its directory does not exist", "symlink_root")
    directory = f"{link}/{view.text('subdirectory')}"
    if view.boolean("append_service_cluster"):
        directory = f"{directory}/{context.node.cluster}"
    return RuntimeLayer(name, "disk", directory=directory, link=link)


def layer_of(resource: Resource) -> dict[str, RuntimeEntry]:
    """The entries of a `service.runtime.v3.Runtime`. Raises ConfigError."""
    view = ConfigView(resource.message, place=resource.place, source=f"Runtime '{resource.name}'")
    layer = view.struct("layer")
    return struct_entries(layer.value, lambda text: view.fail(text, "layer")) if layer is not None else {}


def struct_entries(struct: Mapping[str, Any], fail: Callable[[str], NoReturn]) -> dict[str, RuntimeEntry]:
    """`{a: {b: 1}}` and `{a.b: 1}` say the same; a share of traffic stays one value. fail: raises, with a reason."""
    entries: dict[str, RuntimeEntry] = {}
    _flatten(struct, "", entries, fail)
    return entries


def _flatten(
    struct: Mapping[str, Any], prefix: str, entries: dict[str, RuntimeEntry], fail: Callable[[str], NoReturn]
) -> None:
    for name, value in struct.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            if value and not (_SHARE_FIELDS & value.keys()):
                _flatten(value, f"{key}.", entries, fail)
            else:
                entries.setdefault(key, RuntimeEntry(value, _struct_text(value)))
        elif value is None or isinstance(value, list):
            fail(f"Invalid runtime entry value for {key}")
        else:
            entries.setdefault(key, RuntimeEntry(_scalar(value, value), _text(value)))


def _struct_text(value: Mapping[str, Any]) -> str:
    struct = Struct()
    struct.update(dict(value))
    return str(struct)


def _text(value: Any) -> str:
    """As Envoy shows it: six digits of a number."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else f"{value:g}"


def _scalar(value: Any, text: Any) -> Any:
    """A scalar as a runtime value; of a text, whether it is a number is seen from `text`."""
    if not isinstance(value, str):
        return value
    stripped = str(text).strip()
    if not _NUMBER.fullmatch(stripped):
        return value
    number = float(stripped)
    return int(number) if number.is_integer() else number


def yaml_entry(text: str) -> RuntimeEntry:
    """What a file of a disk layer, or a parameter of `/runtime_modify`, says. Raises ConfigError."""
    value = read_value(text)
    if isinstance(value, list) or value is None:
        return RuntimeEntry("", text)  # it hides what the layers below say, and means nothing
    return RuntimeEntry(_scalar(value, text), text)


def without_comments(text: str) -> str:
    """The content of a file of a disk layer: without lines that begin with "#", and what is blank at its end."""
    return "\n".join(line for line in text.split("\n") if line and not line.startswith("#")).rstrip()
