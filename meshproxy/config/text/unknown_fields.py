"""Fields on the wire that this version of the API doesn't have: of a control plane that is newer, or mistaken.

Protobuf keeps them, numbers without names, and nothing reads them. So nobody learns that a policy isn't enforced unless
they are looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from meshproxy.messages.by_name import VALUE_MESSAGES, message_class, name_of_type_url

_ANY = "google.protobuf.Any"
_LEAVES = VALUE_MESSAGES - {_ANY}


def drop_unknown_fields(message: Message) -> bool:
    """Take out all but those inside of an `Any`, quickly. Returns whether there were any."""
    size = message.ByteSize()
    message.DiscardUnknownFields()
    return message.ByteSize() != size


def unknown_fields(message: Message) -> Iterator[str]:
    """All of them, also inside of an `Any`, as `type envoy.config.cluster.v3.Cluster with unknown field set {9987}`."""
    name = message.DESCRIPTOR.full_name
    unknown: Any
    for unknown in UnknownFieldSet(message):  # type: ignore[attr-defined]  # the stubs lack it
        yield f"type {name} with unknown field set {{{unknown.field_number}}}"
    for field, value in message.ListFields():
        inner = field.message_type
        if inner is None or inner.full_name in _LEAVES:
            continue
        for each in _messages(field, value):
            if each.DESCRIPTOR.full_name == _ANY:
                yield from _packed(each)
            else:
                yield from unknown_fields(each)


def _messages(field: Any, value: Any) -> Iterable[Message]:
    if not field.is_repeated:
        return (value,)
    if field.message_type.GetOptions().map_entry:
        return [each for each in value.values() if isinstance(each, Message)]
    return list(value)


def _packed(packed: Any) -> Iterator[str]:
    kind = message_class(name_of_type_url(packed.type_url))
    if kind is None:
        return
    message = kind()
    try:
        message.ParseFromString(packed.value)
    except DecodeError:
        return  # whoever compiles it says so
    yield from unknown_fields(message)
