"""The rules that Envoy's API attaches to its own fields (`validate.rules`), checked on a whole message tree.

The rules stand in the descriptors, as options of protoc-gen-validate, so they are enforced for every message of the
API without a line per field. What a message type demands is worked out once (`_plan`). A rule on a plain field holds
also when the field is unset (it has its default then), one on a message or a member of a oneof only when it is set:
that is protoc-gen-validate's reading, and Envoy's. Messages inside of an `Any` are checked as well.

Beside these, fields that Envoy marks as disallowed by default are refused, and deprecated ones reported as warnings.
"""

from __future__ import annotations

import functools
from collections.abc import Container
from typing import Any

from envoy.annotations import deprecation_pb2
from google.protobuf.message import DecodeError, Message
from validate import validate_pb2

from meshproxy.config.text.constraint_rules import Check, check_for_field
from meshproxy.config.text.plain_endpoints import plain_assignment
from meshproxy.errors import ConfigError, Problem
from meshproxy.messages.by_name import TYPED_STRUCTS, VALUE_MESSAGES, message_class, name_of_type_url
from meshproxy.plugin.place import Place, field_path, problem_at
from meshproxy.plugin.struct_message import read_message
from meshproxy.plugin.struct_view import StructView, plain_struct

_ANY = "google.protobuf.Any"
_MAX_DEPTH = 100
_ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
# Messages without rules that are worth not walking through: they are many, or deep.
_LEAVES = (VALUE_MESSAGES - {_ANY}) | {"google.protobuf.Empty"}


_UNCHECKED = "envoy.extensions.load_balancing_policies."
"""Packed messages whose rules on values Envoy declares, but doesn't check."""


class _FieldPlan:
    """What to do with one field. `walk`: its messages have rules of their own."""

    __slots__ = (
        "always",
        "check",
        "deprecated",
        "disallowed",
        "is_any",
        "is_map",
        "name",
        "repeated",
        "required",
        "walk",
    )

    def __init__(self, field: Any) -> None:
        self.name: str = field.name
        options = field.GetOptions()
        rules = options.Extensions[validate_pb2.rules] if options.HasExtension(validate_pb2.rules) else None
        value_type = field.message_type
        self.is_map = value_type is not None and value_type.GetOptions().map_entry
        self.repeated: bool = field.is_repeated
        if self.is_map:
            value_type = value_type.fields_by_name["value"].message_type
        self.required = rules is not None and field.containing_oneof is None and _is_required(rules)
        self.check: Check | None = check_for_field(field, rules) if rules is not None else None
        plain = field.message_type is None and field.containing_oneof is None
        self.always = self.check is not None and (plain or self.repeated)
        skipped = rules is not None and rules.message.skip
        self.walk = value_type is not None and value_type.full_name not in _LEAVES and not skipped
        self.is_any = value_type is not None and value_type.full_name == _ANY
        self.disallowed: bool = options.Extensions[deprecation_pb2.disallowed_by_default]
        self.deprecated: str = options.Extensions[deprecation_pb2.deprecated_at_minor_version]

    @property
    def matters(self) -> bool:
        """False when there is nothing to do for this field, ever."""
        return bool(self.check or self.walk or self.required or self.disallowed or self.deprecated)


def _is_required(rules: Any) -> bool:
    kind = rules.WhichOneof("type")
    of_type = kind in ("duration", "timestamp", "any") and getattr(rules, kind).required
    return bool(rules.message.required or of_type)


class _Plan:
    """What to do with one message type."""

    __slots__ = ("absent", "fields", "in_bulk", "oneofs")

    def __init__(self, descriptor: Any) -> None:
        plans = [_FieldPlan(field) for field in descriptor.fields]
        self.in_bulk = descriptor.full_name == _ASSIGNMENT
        self.fields = {plan.name: plan for plan in plans if plan.matters}
        self.absent = [plan for plan in plans if plan.required or plan.always]
        self.oneofs = [
            (oneof.name, ", ".join(f"'{field.name}'" for field in oneof.fields))
            for oneof in descriptor.oneofs
            if oneof.GetOptions().Extensions[validate_pb2.required]
        ]


@functools.cache
def _plan(descriptor: Any) -> _Plan:
    return _Plan(descriptor)


def check_constraints(
    message: Message,
    place: Place | None,
    *,
    source: str = "",
    path: str = "",
    incomplete: Container[str] = (),
) -> tuple[list[Problem], list[Problem]]:
    """Check `message` and all that is in it; the faults, and the warnings.

    place: where it was written, when it was text. source: what to name in problems otherwise (an xDS resource).
    incomplete: paths of messages of which parts couldn't be read: that a field is missing there is no news.
    """
    walk = _Walk(source, incomplete, packed=True)
    walk.message(message, path, place)
    return walk.problems, walk.warnings


def check_unpacked(message: Message) -> tuple[list[Problem], bool]:
    """Check what isn't inside of an `Any`; the faults, and whether that was all of it."""
    walk = _Walk("", (), packed=False)
    walk.message(message, "", None)
    return walk.problems, not walk.left_out


class _Walk:
    """left_out: something inside of an `Any` wasn't checked."""

    def __init__(self, source: str, incomplete: Container[str], *, packed: bool) -> None:
        self.source = source
        self._incomplete = incomplete
        self._enters_packed = packed
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.left_out = False
        self._depth = 0

    def message(self, message: Message, path: str, place: Place | None) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._depth -= 1
            self._refuse(place, path, f"more than {_MAX_DEPTH} levels of nesting")
            return
        plan = _plan(message.DESCRIPTOR)
        if plan.in_bulk and path not in self._incomplete and plain_assignment(message) is not None:
            self._depth -= 1
            return  # what can be read in bulk keeps the rules
        fields = plan.fields
        present: set[str] = set()
        for descriptor, value in message.ListFields():
            name = descriptor.name
            present.add(name)
            field = fields.get(name)
            if field is not None:
                self._field(field, message, value, field_path(path, name), place.field(name) if place else None)
        if path not in self._incomplete:
            self._missing(plan, message, present, path, place)
        self._depth -= 1

    def _missing(self, plan: _Plan, message: Message, present: set[str], path: str, place: Place | None) -> None:
        for field in plan.absent:
            if field.name not in present:
                self._absent(field, message, path, place)
        for oneof, choices in plan.oneofs:
            if message.WhichOneof(oneof) is None:
                self._refuse(place, path, f"one of {choices} is required ('{oneof}')")

    def _refuse(self, place: Place | None, path: str, message: str) -> None:
        self.problems.append(problem_at(place, self.source, path, message))

    def _absent(self, field: _FieldPlan, message: Message, path: str, place: Place | None) -> None:
        if field.required:
            self._refuse(place, path, f"field '{field.name}' of {message.DESCRIPTOR.name} is required")
        elif field.check is not None:
            for index, fault in field.check(getattr(message, field.name)):
                self._refuse(place, f"{field_path(path, field.name)}{index}", fault)

    def _field(self, field: _FieldPlan, message: Message, value: Any, path: str, place: Place | None) -> None:
        if field.check is not None and path not in self._incomplete:
            for index, fault in field.check(value):
                self._refuse(place, f"{path}{index}", fault)
        if field.disallowed or field.deprecated:
            self._deprecated(field, message, path, place)
        if not field.walk:
            return
        visit = self._packed if field.is_any else self.message
        if field.is_map:
            for key, element in sorted(value.items()):
                visit(element, f'{path}["{key}"]', place.field(str(key)) if place else None)
        elif field.repeated:
            for position, element in enumerate(value):
                visit(element, f"{path}[{position}]", place.item(position) if place else None)
        else:
            visit(value, path, place)

    def _deprecated(self, field: _FieldPlan, message: Message, path: str, place: Place | None) -> None:
        name = f"{message.DESCRIPTOR.full_name}.{field.name}"
        if field.disallowed:
            self._refuse(place, path, f"the deprecated field '{name}' is disallowed by default in Envoy")
        else:
            self.warnings.append(problem_at(place, self.source, path, f"field '{name}' is deprecated"))

    def _packed(self, value: Any, path: str, place: Place | None) -> None:
        if not value.type_url:
            return
        if not self._enters_packed:
            self.left_out = True
            return
        name = name_of_type_url(value.type_url)
        packed_type = message_class(name)
        if packed_type is None or name in _LEAVES or name.startswith(_UNCHECKED):
            return  # whoever looks for the extension reports what it doesn't know
        packed = packed_type()
        try:
            packed.ParseFromString(value.value)
        except DecodeError:
            self._refuse(place, path, f"the packed message is no valid {name}, or nested too deeply")
            return
        if name in TYPED_STRUCTS:
            self._typed_struct(packed, path, place)
        else:
            self.message(packed, path, place)

    def _typed_struct(self, typed: Any, path: str, place: Place | None) -> None:
        """One that stands for a message of the API is held to that message's rules."""
        wrapped_type = message_class(name_of_type_url(typed.type_url))
        if wrapped_type is None:
            return
        value_place = (place.field("value") if place else None) or place
        struct = StructView(plain_struct(typed.value), path, value_place, self.source)
        try:
            wrapped = read_message(struct, wrapped_type)
        except ConfigError as error:
            self.problems += error.problems
        else:
            self.message(wrapped, path, value_place)
