"""Services and messages of a descriptor set, and the messages' way from and to JSON.

The set has a descriptor pool of its own: its files may be other versions of those that this program knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from meshproxy.records import dataclass
from meshproxy_filters.http.grpc_json_transcoder.reading import as_cpp_reads

HTTP_BODY = "google.api.HttpBody"
_EXACT = 1e15


class TranscodeError(Exception):
    """What a client sent can't become a message."""


@dataclass(frozen=True, slots=True)
class PrintOptions:
    """How messages are written; names as in Envoy's `PrintOptions`."""

    add_whitespace: bool = False
    always_print_primitive_fields: bool = False
    always_print_enums_as_ints: bool = False
    preserve_proto_field_names: bool = False


class Schema:
    """One descriptor set."""

    def __init__(self, data: bytes) -> None:
        """Raises ValueError for what is none."""
        files = descriptor_pb2.FileDescriptorSet()
        try:
            files.ParseFromString(data)
        except DecodeError as error:
            raise ValueError("transcoding_filter: Unable to parse proto descriptor") from error
        self._pool = descriptor_pool.DescriptorPool()
        try:
            for file in files.file:
                self._pool.Add(file)
        except TypeError as error:
            raise ValueError(f"transcoding_filter: Unable to build proto descriptor pool: {error}") from error

    def service(self, name: str) -> ServiceDescriptor:
        """Raises ValueError."""
        try:
            return self._pool.FindServiceByName(name)
        except KeyError:
            raise ValueError(f"transcoding_filter: Could not find '{name}' in the proto descriptor") from None

    def make(self, kind: Descriptor) -> Message:
        """An empty message."""
        made: Message = message_factory.GetMessageClass(kind)()
        return made

    def read_json(self, text: bytes, message: Message) -> None:
        """Fill a message from JSON. Raises TranscodeError."""
        try:
            plain = json.loads(text, parse_constant=_refuse_constant)
            plain = as_cpp_reads(plain, message.DESCRIPTOR)
            json_format.ParseDict(plain, message, ignore_unknown_fields=True, descriptor_pool=self._pool)
        except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
            raise TranscodeError(str(error)) from None

    def as_json(self, message: Message, options: PrintOptions) -> bytes:
        """A message as JSON."""
        plain = json_format.MessageToDict(
            message,
            preserving_proto_field_name=options.preserve_proto_field_names,
            use_integers_for_enums=options.always_print_enums_as_ints,
            always_print_fields_with_no_presence=options.always_print_primitive_fields,
            descriptor_pool=self._pool,
        )
        if options.always_print_primitive_fields:
            plain = _in_order(plain, message.DESCRIPTOR)
        return dump(_with_whole_numbers(plain), options)

    def plain_any(self, packed: Any) -> Any:
        """A `google.protobuf.Any` of another pool as plain values; one of a type that isn't known, without them."""
        own = any_pb2.Any.FromString(packed.SerializeToString())
        try:
            return json_format.MessageToDict(own, descriptor_pool=self._pool)
        except (TypeError, KeyError, DecodeError):
            return {"@type": packed.type_url}


def _in_order(plain: Any, kind: Any) -> Any:
    """Fields in the order of their declaration: `MessageToDict` puts those last that aren't set."""
    if not isinstance(plain, dict) or kind.full_name.startswith("google.protobuf."):
        return plain
    ordered: dict[str, Any] = {}
    for field in kind.fields:
        for name in (field.name, field.json_name):
            if name in plain and name not in ordered:
                ordered[name] = _ordered_value(plain[name], field)
    return ordered


def _ordered_value(value: Any, field: FieldDescriptor) -> Any:
    kind = field.message_type
    if kind is None or kind.GetOptions().map_entry:
        return value
    return [_in_order(each, kind) for each in value] if field.is_repeated else _in_order(value, kind)


def _with_whole_numbers(plain: Any) -> Any:
    """Numbers without a fraction are written without one."""
    if isinstance(plain, dict):
        return {key: _with_whole_numbers(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_with_whole_numbers(value) for value in plain]
    if isinstance(plain, float) and plain.is_integer() and abs(plain) < _EXACT:
        return int(plain)
    return plain


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} isn't JSON")


def dump(plain: Any, options: PrintOptions) -> bytes:
    """JSON as protobuf's C++ code writes it."""
    if options.add_whitespace:
        text = json.dumps(plain, ensure_ascii=False, indent=1, separators=(",", ": ")) + "\n"
    else:
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("\x7f", "\\u007f").encode()


def http_rules(method: MethodDescriptor) -> Iterator[http_pb2.HttpRule]:
    """The `google.api.http` rules of a method."""
    proto = descriptor_pb2.MethodDescriptorProto()
    method.CopyToProto(proto)
    # The pool's own options don't know the extension: it is read from their bytes.
    options = descriptor_pb2.MethodOptions.FromString(proto.options.SerializeToString())
    if options.HasExtension(annotations_pb2.http):
        rule = options.Extensions[annotations_pb2.http]
        yield rule
        yield from rule.additional_bindings


def find_field(kind: Descriptor, name: str) -> FieldDescriptor | None:
    """A field by its name, or by its name in JSON."""
    found = kind.fields_by_name.get(name)
    if found is None:
        found = next((field for field in kind.fields if field.json_name == name), None)
    return found


def field_path(kind: Descriptor, names: Sequence[str]) -> list[FieldDescriptor] | None:
    """The fields on the way to one that a text can set; None if there is no such way."""
    found: list[FieldDescriptor] = []
    for index, name in enumerate(names):
        field = find_field(kind, name)
        if field is None:
            return None
        found.append(field)
        if index < len(names) - 1:
            if field.message_type is None or field.is_repeated:
                return None
            kind = field.message_type
    return found
