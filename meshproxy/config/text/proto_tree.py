"""A tree of nodes to a protobuf message, with a place for every field and every fault.

One pass over the nodes fills the message and builds the tree of places beside it. A fault doesn't stop the pass: it is
noted and the field left out, so that all faults of a file come at once. What there is to know of a message type is
worked out once (`_shape`) and looked up by either spelling of a field's name afterwards.

As in Envoy, a single value may stand for a list of one, null leaves a field unset, and a packed message
(`google.protobuf.Any`) is written with its fields beside "@type". Unlike Envoy, a name that is given twice is an error.

Aliases can make a small input large, or endless: depth and the number of values are bounded here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError, Message
from yaml.nodes import MappingNode, Node, SequenceNode

from meshproxy.config.text import proto_wellknown as wellknown
from meshproxy.config.text.proto_scalars import NULL, Refused, ScalarReader, read_string, reader_for
from meshproxy.config.text.yaml_tree import IGNORED_KEY, MAX_DEPTH, is_null, kind_of
from meshproxy.errors import Problem
from meshproxy.messages.by_name import message_class, name_of_type_url, nearest_type
from meshproxy.plugin.place import Place, field_path
from meshproxy.suggest import did_you_mean

ALIASED_VALUES = 250_000  # what aliases may add: more than any mesh has (1,500 clusters are 30,000 values)

# protobuf decodes 100 levels, and one level of a Struct is three of them: beyond this a packed message may be too deep.
_SAFE_DEPTH = 25


class TooMuch(Exception):
    """The input, aliases expanded, is beyond its bounds."""


class _Field:
    """What the reader needs of a field's descriptor. `read` is None for a message. empty: a value that says nothing."""

    __slots__ = ("empty", "is_map", "key_read", "message_type", "name", "oneof", "read", "repeated")

    def __init__(self, field: Any) -> None:
        self.name: str = field.name
        message_type = field.message_type
        self.is_map = message_type is not None and message_type.GetOptions().map_entry
        self.repeated: bool = field.is_repeated and not self.is_map
        self.oneof: str = field.containing_oneof.name if field.containing_oneof else ""
        self.key_read: ScalarReader | None = None
        if self.is_map:
            self.key_read = reader_for(message_type.fields_by_name["key"])
            field = message_type.fields_by_name["value"]
        self.message_type: Any = field.message_type
        text = field.cpp_type == field.CPPTYPE_STRING
        self.empty = 0 if not text else b"" if field.type == field.TYPE_BYTES else ""
        self.read: ScalarReader | None = None if field.message_type is not None else reader_for(field)


@functools.cache
def _shape(descriptor: Any) -> dict[str, _Field]:
    shape: dict[str, _Field] = {}
    for descriptor_field in descriptor.fields:
        field = _Field(descriptor_field)
        shape[descriptor_field.name] = shape[descriptor_field.json_name] = field
    return shape


def _reads_null(field: _Field) -> bool:
    return field.message_type is not None and field.message_type.full_name == "google.protobuf.Value"


class TreeReader:
    """Reads the nodes of one source.

    source: the name in problems. size: of the text in characters; a text without aliases has fewer values.
    json: plain scalars are JSON's, not YAML's. allow_unknown: an unknown field is a warning. find_type: the class for
    the full name of a packed message, None when there is none.
    """

    def __init__(
        self,
        source: str,
        *,
        size: int = 0,
        json: bool = False,
        allow_unknown: bool = False,
        find_type: Callable[[str], type[Message] | None] = message_class,
    ) -> None:
        self.source = source
        self.json = json
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._unknown = self.warnings if allow_unknown else self.problems
        self._find_type = find_type
        self._depth = 0
        self._deepest = 0
        self._values_left = size + ALIASED_VALUES

    def read(self, node: Node, message: Message) -> Place:
        """Fill `message` from `node`; faults go to `problems`. Raises nothing."""
        place = self.place(node)
        try:
            self.read_message(node, message, "", place)
        except TooMuch as error:
            self.problems.append(Problem("", str(error), self.source))
        return place

    def place(self, node: Node) -> Place:
        """The place of a node."""
        mark = node.start_mark
        return Place(self.source, mark.line + 1, mark.column + 1)

    def refuse(self, node: Node, path: str, message: str) -> None:
        """Note a fault at `node`."""
        self.problems.append(self.place(node).problem(path, message))

    def enter(self, size: int) -> None:
        """Account for one more level with `size` values; every call needs its `leave`. Raises TooMuch."""
        self._depth += 1
        self._deepest = max(self._deepest, self._depth)
        self._values_left -= size
        if self._depth > MAX_DEPTH:
            raise TooMuch(f"more than {MAX_DEPTH} levels of nesting")
        if self._values_left < 0:
            raise TooMuch("too many values, aliases expanded")

    def leave(self) -> None:
        """The end of a level."""
        self._depth -= 1

    def read_message(self, node: Node, message: Message, path: str, place: Place) -> None:
        """Fill a message of any type."""
        special = wellknown.READERS.get(message.DESCRIPTOR.full_name)
        if special is not None:
            try:
                special(self, node, message, path, place)
            except Refused as error:
                self.refuse(node, path, str(error))
        elif message.DESCRIPTOR.full_name == "google.protobuf.Any":
            self._read_any(node, message, path, place)
        else:
            self._read_fields(node, message, path, place)

    def _read_fields(self, node: Node, message: Message, path: str, place: Place, packed: bool = False) -> None:
        descriptor = message.DESCRIPTOR
        if type(node) is not MappingNode:
            self.refuse(node, path, f"the fields of {descriptor.name} are expected, not {kind_of(node)}")
            return
        self.enter(len(node.value))
        shape = _shape(descriptor)
        places: dict[str, Place] = {}
        oneofs: dict[str, str] = {}
        for key, value in node.value:
            name = key.value
            field = shape.get(name) if type(name) is str else None
            if field is None:
                if not (packed and name == "@type") and key.tag != IGNORED_KEY:
                    self._unknown_field(key, descriptor, shape, path)
                continue
            if key.tag == IGNORED_KEY:
                continue
            name = field.name
            if name in places:
                self.refuse(key, path, f"'{key.value}' is given twice")
                continue
            if is_null(value) and not _reads_null(field):
                continue
            if field.oneof and oneofs.setdefault(field.oneof, name) != name:
                other = oneofs[field.oneof]
                self.refuse(key, path, f"'{name}' and '{other}' exclude each other (one of '{field.oneof}')")
                continue
            places[name] = field_place = self.place(key)
            self._read_field(field, value, message, field_path(path, name), field_place)
        if places:
            place.fields = places
        self.leave()

    def _unknown_field(self, key: Node, descriptor: Any, shape: dict[str, _Field], path: str) -> None:
        if type(key.value) is not str:
            self.refuse(key, path, f"the name of a field is expected, not {kind_of(key)}")
            return
        if key.value == "<<":
            hint = "; merge keys are YAML that Envoy doesn't read, an alias (*name) is"
        else:
            older = _OLDER.get((descriptor.name, key.value))
            hint = f"; {older}" if older else did_you_mean(key.value, [field.name for field in shape.values()])
        problem = self.place(key).problem(path, f"no field '{key.value}' in {descriptor.name}{hint}")
        self._unknown.append(problem)

    def _read_field(self, field: _Field, node: Node, message: Message, path: str, place: Place) -> None:
        if field.is_map:
            self._read_map(field, node, message, path, place)
        elif field.repeated:
            self._read_list(field, node, message, path, place)
        elif field.read is None:
            child = getattr(message, field.name)
            child.SetInParent()
            self.read_message(node, child, path, place)
        else:
            self._set(field.read, node, path, functools.partial(setattr, message, field.name))

    def _set(self, read: ScalarReader, node: Node, path: str, setter: Callable[[object], object]) -> None:
        try:
            value = read(node, self.json)
        except Refused as error:
            self.refuse(node, path, str(error))
        else:
            if value is not NULL:
                setter(value)

    def _read_list(self, field: _Field, node: Node, message: Message, path: str, place: Place) -> None:
        """protobuf's reader, and so Envoy, takes a list within a list for its elements, and null for an empty value."""
        if type(node) is not SequenceNode:
            elements = [node]
        elif _reads_null(field):
            elements = node.value
        else:
            elements = self._flat(node)
        self.enter(len(elements))
        repeated = getattr(message, field.name)
        places = place.items = []
        for index, element in enumerate(elements):
            element_path = f"{path}[{index}]"
            element_place = self.place(element)
            places.append(element_place)
            empty = is_null(element) and not _reads_null(field)
            if field.read is None:
                added = repeated.add()
                if not empty:
                    self.read_message(element, added, element_path, element_place)
            elif empty:
                repeated.append(field.empty)
            else:
                self._set(field.read, element, element_path, repeated.append)
        self.leave()

    def _flat(self, node: SequenceNode) -> list[Node]:
        self.enter(0)
        elements: list[Node] = []
        for element in node.value:
            if type(element) is SequenceNode:
                elements += self._flat(element)
            else:
                elements.append(element)
        self.leave()
        return elements

    def _read_map(self, field: _Field, node: Node, message: Message, path: str, place: Place) -> None:
        if type(node) is not MappingNode or field.key_read is None:
            self.refuse(node, path, f"a mapping is expected, not {kind_of(node)}")
            return
        self.enter(len(node.value))
        entries = getattr(message, field.name)
        places: dict[str, Place] = {}
        place.fields = places
        for key_node, value in node.value:
            if key_node.tag == IGNORED_KEY:
                continue
            try:
                # The key of a string map may look like anything: JSON's keys are all strings.
                key = key_node.value if field.key_read is read_string else field.key_read(key_node, self.json)
            except Refused as error:
                self.refuse(key_node, path, str(error))
                continue
            if type(key_node.value) is not str or key is NULL:
                self.refuse(key_node, path, f"a key is expected, not {kind_of(key_node)}")
                continue
            if str(key) in places:
                self.refuse(key_node, path, f"'{key}' is given twice")
                continue
            places[str(key)] = entry_place = self.place(key_node)
            entry_path = f'{path}["{key}"]'
            if field.read is None:
                entry = entries[key]
                if not is_null(value) or _reads_null(field):
                    self.read_message(value, entry, entry_path, entry_place)
            else:
                self._set(field.read, value, entry_path, functools.partial(entries.__setitem__, key))
        self.leave()

    def _read_any(self, node: Node, message: Message, path: str, place: Place) -> None:
        if type(node) is not MappingNode:
            self.refuse(node, path, f'a message with "@type" is expected, not {kind_of(node)}')
            return
        if not node.value:
            return
        types = [(key, value) for key, value in node.value if key.value == "@type"]
        if not types:
            self.refuse(node, path, 'no "@type": it says which message this is')
            return
        if len(types) > 1:
            self.refuse(types[1][0], path, "'@type' is given twice")
            return
        type_node = types[0][1]
        type_url = type_node.value if type(type_node.value) is str else ""
        packed_class = self._find_type(name_of_type_url(type_url))
        if packed_class is None:
            self.refuse(type_node, path, _unknown_type(type_url))
            return
        packed = packed_class()
        if packed.DESCRIPTOR.full_name in wellknown.READERS:
            self._read_wellknown_in_any(node, packed, path, place)
        elif packed.DESCRIPTOR.full_name == "google.protobuf.Any":
            self.refuse(type_node, path, "an Any inside of an Any")
        else:
            self._read_fields(node, packed, path, place, packed=True)
        packed_bytes = packed.SerializeToString(deterministic=True)
        if self._deepest > _SAFE_DEPTH:
            try:
                packed_class.FromString(packed_bytes)
            except DecodeError:
                self.refuse(node, path, "nested too deeply to be packed")
                return
        packed_into: Any = message
        packed_into.value = packed_bytes
        packed_into.type_url = type_url

    def _read_wellknown_in_any(self, node: MappingNode, packed: Message, path: str, place: Place) -> None:
        """Messages with a JSON form of their own are packed as {"@type": ..., "value": that form}."""
        for key, value in node.value:
            if key.value == "value":
                self.read_message(value, packed, path, place)
            elif key.value != "@type":
                self.refuse(
                    key, path, f"no field '{key.value}' beside \"@type\" of {packed.DESCRIPTOR.name}: only 'value'"
                )


# What people bring along from the v2 API, and where it stands now.
_SOCKET = "in v3 TLS stands in transport_socket"
_OLDER = {
    ("Cluster", "hosts"): "in v3 endpoints stand in load_assignment",
    ("Cluster", "tls_context"): _SOCKET,
    ("Cluster", "extension_protocol_options"): "in v3 it is typed_extension_protocol_options",
    ("FilterChain", "tls_context"): _SOCKET,
    ("HealthCheck", "tls_context"): _SOCKET,
    ("RouteAction", "host_rewrite"): "in v3 it is host_rewrite_literal",
    ("RouteAction", "auto_host_rewrite_header"): "in v3 it is host_rewrite_header",
    ("RouteMatch", "regex"): "in v3 it is safe_regex: {regex: ...}",
    ("HeaderMatcher", "regex_match"): "in v3 it is string_match: {safe_regex: {regex: ...}}",
    ("Tracing", "operation_name"): "in v3 it is the listener's traffic_direction that counts",
    ("HttpConnectionManager", "idle_timeout"): "in v3 it stands in common_http_protocol_options",
    ("Bootstrap", "runtime"): "in v3 it is layered_runtime",
}


def _unknown_type(type_url: str) -> str:
    name = name_of_type_url(type_url)
    if not name:
        return f"'{type_url}' is no type URL: type.googleapis.com/ and the full name of a message"
    candidate = nearest_type(name)
    hint = (
        f"did you mean '{candidate}'?"
        if candidate
        else (
            "Envoy's API has envoy.extensions.*; the configuration of a Python filter goes into xds.type.v3.TypedStruct"
        )
    )
    return f"unknown @type '{name}'; {hint}"
