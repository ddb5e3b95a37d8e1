"""The protobuf form of an expression (`google.api.expr.v1alpha1.Expr`, `cel.expr.Expr`) to its tree."""

from __future__ import annotations

from typing import Any

from meshproxy.cel.nodes import (
    COMPREHENSION,
    CREATION,
    Call,
    Constant,
    ExpressionError,
    ListOf,
    MapOf,
    Name,
    Node,
    Select,
)
from meshproxy.cel.values import Duration, Timestamp, Uint
from meshproxy.matching import wire_text

_ARGUMENTS = {
    **dict.fromkeys(("_&&_", "_||_", "_[_]"), 2),
    "_?_:_": 3,
}
_DEPTH = 100


def read_expression(message: Any, depth: int = 0) -> Node:
    """Raises ExpressionError."""
    if depth > _DEPTH:
        raise ExpressionError("the expression nests too deeply")

    def read(part: Any) -> Node:
        return read_expression(part, depth + 1)

    kind = message.WhichOneof("expr_kind")
    if kind == "const_expr":
        return Constant(_constant(message.const_expr))
    if kind == "ident_expr":
        if not message.ident_expr.name:
            raise ExpressionError("an identifier without a name")
        return Name(message.ident_expr.name.lstrip("."))
    if kind == "select_expr":
        selected = message.select_expr
        return Select(read(selected.operand), selected.field, selected.test_only)
    if kind == "call_expr":
        return _call(message.call_expr, read)
    if kind == "list_expr":
        return ListOf(tuple(read(item) for item in message.list_expr.elements))
    if kind == "struct_expr":
        if message.struct_expr.message_name:
            raise ExpressionError(CREATION)
        return MapOf(tuple((read(entry.map_key), read(entry.value)) for entry in message.struct_expr.entries))
    raise ExpressionError(COMPREHENSION if kind == "comprehension_expr" else "an empty expression")


def _call(message: Any, read: Any) -> Node:
    arguments = tuple(read(argument) for argument in message.args)
    if len(arguments) != _ARGUMENTS.get(message.function, len(arguments)):
        raise ExpressionError(f"{message.function} has {len(arguments)} arguments")
    return Call(message.function, arguments, read(message.target) if message.HasField("target") else None)


def _constant(message: Any) -> Any:
    kind = message.WhichOneof("constant_kind")
    if kind is None:
        raise ExpressionError("a constant without a value")
    value: Any = getattr(message, kind, None)
    if kind == "null_value":
        return None
    if kind == "string_value":
        return wire_text(value)
    if kind == "uint64_value":
        return Uint(value)
    if kind in ("duration_value", "timestamp_value"):
        return (Duration if kind == "duration_value" else Timestamp)(value.seconds * 1_000_000_000 + value.nanos)
    return value
