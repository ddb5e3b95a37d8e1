"""`/runtime`: the values of every layer, and which of them counts (envoy.admin.v3... the JSON has no message)."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.message import Message


def _flatten(prefix: str, value: Any, into: dict[str, str]) -> None:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        if set(value.struct_value.fields) >= {"numerator"}:
            into[prefix] = _scalar(value)
            return
        for name, inner in value.struct_value.fields.items():
            _flatten(f"{prefix}.{name}" if prefix else name, inner, into)
    elif kind is not None:
        into[prefix] = _scalar(value)


def _scalar(value: Any) -> str:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return str(int(number)) if number == int(number) else f"{number:g}"
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "string_value":
        return str(value.string_value)
    return str(value).replace("\n", " ").strip()


def layers_of(bootstrap: Message) -> list[tuple[str, dict[str, str]]]:
    """Name and flattened values of each static layer, the last one winning."""
    runtime: Any = getattr(bootstrap, "layered_runtime", None)
    layers = []
    for layer in runtime.layers if runtime is not None else ():
        values: dict[str, str] = {}
        for name, value in layer.static_layer.fields.items():
            _flatten(name, value, values)
        layers.append((layer.name, values))
    return layers


def render(bootstrap: Message) -> str:
    """The page, in JSON."""
    layers = layers_of(bootstrap)
    entries: dict[str, Any] = {}
    for name in sorted({name for _, values in layers for name in values}):
        by_layer = [values.get(name, "") for _, values in layers]
        entries[name] = {"layer_values": by_layer, "final_value": next(v for v in reversed(by_layer) if v)}
    return json.dumps({"entries": entries, "layers": [name for name, _ in layers]}, indent=1) + "\n"
