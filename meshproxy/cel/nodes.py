"""The syntax tree of an expression: what text and protobuf messages are both read into.

Operators are calls of functions with the names of the language definition: `_+_`, `_&&_`, `!_`, `_[_]`, `@in`.
"""

from __future__ import annotations

from typing import Any

from meshproxy.records import dataclass


class ExpressionError(ValueError):
    """An expression that can't be used: not of the language, or of a part of it that is switched off."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that stands in the expression."""

    value: Any


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, such as `request`."""

    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`; with only_test `has(operand.field)`."""

    operand: Node
    field: str
    only_test: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A function, or a method if there is a target."""

    function: str
    arguments: tuple[Node, ...]
    target: Node | None = None


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a, b]`."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapOf:
    """`{a: b}`."""

    entries: tuple[tuple[Node, Node], ...]


Node = Constant | Name | Select | Call | ListOf | MapOf

COMPREHENSION = "Comprehension support is disabled"
CREATION = "creating messages isn't supported by meshproxy"
