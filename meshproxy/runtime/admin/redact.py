"""Taking secrets out of a message before it is shown.

A field is secret when the API says so (`udpa.annotations.sensitive`; then everything below it is), when its name says
so, when it is the value of a header that carries credentials, or when it stands in a Struct under a telling key. Text
becomes `[redacted]`, and so do bytes, which JSON shows in base64.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.message import Message
from udpa.annotations import sensitive_pb2

from meshproxy.messages.by_name import message_class, name_of_type_url

REDACTED = "[redacted]"

_FIELDS = re.compile(r"(?:\A|_)(?:password|passphrase|private_key|hmac_secret|client_secret|api_key|token)\Z")
_KEYS = re.compile(r"(?i)secret|passw|passphrase|token|api[-_]?key|private[-_]?key|credential")
_HEADERS = frozenset(("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-api-token"))
_HEADER_VALUE = "envoy.config.core.v3.HeaderValue"


def redact(message: Message) -> None:
    """Take the secrets out of `message`, in place."""
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Any":
        _redact_any(message, everything=False)
        return
    if name == "google.protobuf.Struct":
        _redact_struct(message)
        return
    if name == _HEADER_VALUE and message.key.lower() in _HEADERS:  # type: ignore[attr-defined]  # a HeaderValue
        _redact_all(message, keep="key")
        return
    for field, value in message.ListFields():
        if _is_secret(field):
            _redact_field(message, field)
        elif field.message_type is not None:
            for inner in _messages(field, value):
                redact(inner)


def _is_secret(field: Any) -> bool:
    return bool(field.GetOptions().Extensions[sensitive_pb2.sensitive]) or bool(
        field.message_type is None
        and field.type in (field.TYPE_STRING, field.TYPE_BYTES)
        and _FIELDS.search(field.name)
    )


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _is_repeated(value: Any) -> bool:
    return not isinstance(value, Message | str | bytes | int | float | bool)


def _messages(field: Any, value: Any) -> list[Any]:
    if _is_map(field):
        return [inner for inner in value.values() if isinstance(inner, Message)]
    return list(value) if _is_repeated(value) else [value]


def _redact_field(message: Any, field: Any) -> None:
    value = getattr(message, field.name)
    if field.message_type is not None and not _is_map(field):
        for inner in _messages(field, value):
            _redact_all(inner)
        return
    if _is_map(field):
        for key in list(value):
            if isinstance(value[key], Message):
                _redact_all(value[key])
            elif isinstance(value[key], str):
                value[key] = REDACTED
        return
    blank: Any = REDACTED if field.type == field.TYPE_STRING else REDACTED.encode()
    if field.type not in (field.TYPE_STRING, field.TYPE_BYTES):
        message.ClearField(field.name)
    elif _is_repeated(value):
        value[:] = [blank] * len(value)
    else:
        setattr(message, field.name, blank)


def _redact_all(message: Any, keep: str = "") -> None:
    """Everything in a message that is secret as a whole."""
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Any":
        _redact_any(message, everything=True)
        return
    if name == "google.protobuf.Struct":
        for key in list(message.fields):
            message.fields[key].string_value = REDACTED
        return
    for field, _ in message.ListFields():
        if field.name != keep:
            _redact_field(message, field)


def _redact_any(holder: Any, *, everything: bool) -> None:
    message_type = message_class(name_of_type_url(holder.type_url))
    if message_type is None:
        holder.value = b""
        return
    message = message_type()
    message.ParseFromString(holder.value)
    if everything:
        _redact_all(message)
    else:
        redact(message)
    holder.value = message.SerializeToString(deterministic=True)


def _redact_struct(struct: Any) -> None:
    for key, value in struct.fields.items():
        _redact_value(key, value)


def _redact_value(key: str, value: Any) -> None:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        _redact_struct(value.struct_value)
    elif kind == "list_value":
        for inner in value.list_value.values:
            _redact_value(key, inner)
    elif kind in ("string_value", "number_value") and _KEYS.search(key):
        value.string_value = REDACTED
