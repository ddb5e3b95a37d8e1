"""Plain values to a protobuf message: what a `TypedStruct` of a type of Envoy's own API stands for.

Istio wraps configuration that way, and Envoy unwraps it by protobuf's JSON rules. Protobuf reports one fault, in words;
the place of the fault is recovered from them.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.message import Message

from meshproxy.errors import ConfigError
from meshproxy.messages.by_name import message_class, name_of_type_url
from meshproxy.plugin.struct_view import Key, StructView
from meshproxy.suggest import did_you_mean

_UNKNOWN = re.compile(r'Message type "([^"]+)" has no field named "([^"]+)" at "[^".]*\.?([^"]*)"')
_STEPS = re.compile(r"Failed to parse (\w+) field: ")
_STEP = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")


def read_message(struct: StructView, target: type[Message]) -> Message:
    """A `target` with these values. Raises ConfigError with the first fault."""
    from google.protobuf import json_format  # few wrap configuration that way

    message = target()
    _import_packed(struct.value)
    try:
        json_format.ParseDict(struct.value, message)
    except json_format.ParseError as error:
        raise _fault(struct, str(error)) from None
    return message


def _import_packed(value: Any) -> None:
    """Protobuf finds the type of a packed message only when its module is imported."""
    if isinstance(value, dict):
        if isinstance(value.get("@type"), str):
            message_class(name_of_type_url(value["@type"]))
        for element in value.values():
            _import_packed(element)
    elif isinstance(value, list):
        for element in value:
            _import_packed(element)


def _fault(struct: StructView, text: str) -> ConfigError:
    unknown = _UNKNOWN.search(text)
    if unknown:
        full_name, name, path = unknown.groups()
        keys: list[Key] = [int(index) if index else key for key, index in _STEP.findall(path)]
        message_type = message_class(full_name)
        known = [field.name for field in message_type.DESCRIPTOR.fields] if message_type else []
        message = f"no field '{name}' in {full_name.rpartition('.')[2]}{did_you_mean(name, known)}"
        return ConfigError(struct.unknown_key(message, *keys, name))
    steps = _STEPS.findall(text)
    return ConfigError(struct.error(_STEPS.sub("", text).rstrip("."), *steps))
