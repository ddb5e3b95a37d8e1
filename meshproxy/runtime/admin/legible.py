"""Messages as JSON, whatever is in them.

A control plane may send a configuration of a type that nobody here knows. Such a part is shown as an
`xds.type.v3.TypedStruct` of that type with its bytes in base64, so that the rest can still be read.
"""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from meshproxy.messages.by_name import message_class, name_of_type_url
from meshproxy.runtime.admin.redact import redact

_ANY = "google.protobuf.Any"
_TYPED_STRUCT = "xds.type.v3.TypedStruct"


def legible(message: Message) -> dict[str, Any]:
    """A message as plain data in the shape of its JSON, secrets taken out, its type under "@type"."""
    copy = type(message)()
    copy.CopyFrom(message)
    _replace_unknown(copy)
    redact(copy)
    shown: dict[str, Any] = json_format.MessageToDict(copy, preserving_proto_field_name=True)
    return {"@type": f"type.googleapis.com/{message.DESCRIPTOR.full_name}", **shown}


def _replace_unknown(message: Any) -> None:
    """Make every packed message below one of a known type."""
    if message.DESCRIPTOR.full_name == _ANY:
        _replace_any(message)
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            inner = [each for each in value.values() if isinstance(each, Message)]
        else:
            inner = list(value) if field.is_repeated else [value]
        for each in inner:
            _replace_unknown(each)


def _replace_any(holder: Any) -> None:
    if not holder.type_url:
        return
    message_type = message_class(name_of_type_url(holder.type_url))
    if message_type is not None:
        message = message_type()
        try:
            message.ParseFromString(holder.value)
        except DecodeError:
            message_type = None
        else:
            _replace_unknown(message)
            holder.value = message.SerializeToString(deterministic=True)
    if message_type is None:
        struct_type = message_class(_TYPED_STRUCT)
        assert struct_type is not None
        shown: Any = struct_type(type_url=holder.type_url)
        shown.value["bytes"] = base64.b64encode(holder.value).decode()
        holder.type_url = f"type.googleapis.com/{_TYPED_STRUCT}"
        holder.value = shown.SerializeToString()
