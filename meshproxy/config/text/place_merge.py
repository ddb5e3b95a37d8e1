"""Places follow their values when one message is merged into another (`Message.MergeFrom`)."""

from __future__ import annotations

from typing import Any

from meshproxy.plugin.place import Place

_WHOLE = frozenset({"google.protobuf.Any"})  # its bytes are replaced, not merged


def merge_places(descriptor: Any, into: Place, other: Place) -> None:
    """Merge the places of a message of type `descriptor` the way its fields were merged."""
    if not other.fields:
        return
    if into.fields is None:
        into.fields = {}
    for name, place in other.fields.items():
        old = into.fields.get(name)
        field = descriptor.fields_by_name.get(name)
        if old is None or field is None:
            into.fields[name] = place
            continue
        message_type = field.message_type
        if message_type is not None and message_type.GetOptions().map_entry:
            old.fields = {**(old.fields or {}), **(place.fields or {})}
        elif field.is_repeated:
            old.items = [*(old.items or ()), *(place.items or ())]
        elif message_type is not None and message_type.full_name == "google.protobuf.Struct":
            old.fields = {**(old.fields or {}), **(place.fields or {})}
        elif message_type is not None and message_type.full_name not in _WHOLE:
            merge_places(message_type, old, place)
        else:
            into.fields[name] = place
