"""What the masks of `/config_dump` leave of a message's JSON (google.protobuf.FieldMask, as Envoy applies it)."""

from __future__ import annotations

from typing import Any

from meshproxy.messages.by_name import message_class, name_of_type_url

Paths = list[list[str]]


def parse_mask(mask: str) -> Paths:
    """The paths of `a.b,c`."""
    return [path.split(".") for path in mask.split(",") if path]


def fits(message: dict[str, Any], paths: Paths) -> bool:
    """Whether every path names fields of a message, of which all but the last hold one message each.

    message: its JSON, with its type in "@type", as have those that are packed in it.
    """
    kind = message_class(name_of_type_url(message["@type"]))
    return kind is not None and all(_names_field(kind.DESCRIPTOR, message, path) for path in paths)


def _names_field(descriptor: Any, message: Any, path: list[str]) -> bool:
    for index, name in enumerate(path, 1):
        field = descriptor.fields_by_name.get(name)
        if field is None:
            return False
        if index == len(path):
            return True
        if field.is_repeated or field.message_type is None:
            return False
        descriptor = field.message_type
        message = message.get(name) if isinstance(message, dict) else None
        if descriptor.full_name == "google.protobuf.Any":
            return isinstance(message, dict) and fits(message, [path[index:]])
    return True


def trim(value: Any, paths: Paths) -> Any:
    """What is left of a message; lists are trimmed element by element."""
    if isinstance(value, list):
        return [trim(item, paths) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {"@type": value["@type"]} if "@type" in value else {}
    for name, inner in value.items():
        below = [path[1:] for path in paths if path and path[0] == name]
        if below:
            kept[name] = inner if [] in below else trim(inner, below)
    return kept
