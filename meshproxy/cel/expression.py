"""An expression ready to be asked: where the parts of this package come together for those who use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.cel.attributes import Attributes
from meshproxy.cel.compiler import Evaluate, Options, as_predicate, compile_node, value_or_missing
from meshproxy.cel.nodes import ExpressionError, Node
from meshproxy.cel.show import plain_of, text_of
from meshproxy.cel.surroundings import Surroundings
from meshproxy.cel.syntax import parse
from meshproxy.cel.values import MISSING

PLAIN = Options()


def compile_predicate(node: Node, surroundings: Surroundings, options: Options = PLAIN) -> Callable[[Any], bool]:
    """Whether the expression is true for a stream. Raises ExpressionError."""
    return as_predicate(compile_node(node, Attributes(surroundings), options))


def compile_value(node: Node, surroundings: Surroundings, options: Options = PLAIN) -> Evaluate:
    """The value of the expression for a stream, `MISSING` without one. Raises ExpressionError."""
    return value_or_missing(compile_node(node, Attributes(surroundings), options))


def compile_text(text: str, surroundings: Surroundings, options: Options = PLAIN) -> Callable[[Any], str | None]:
    """The value as the text that `%CEL%` prints; None without one. Raises ExpressionError."""
    value_of = compile_value(parse(text), surroundings, options)
    return lambda info: None if (value := value_of(info)) is MISSING else text_of(value)


def compile_plain(text: str, surroundings: Surroundings) -> Callable[[Any], Any]:
    """The value as JSON can say it, for `%TYPED_CEL%`; None without one. Raises ExpressionError."""
    value_of = compile_value(parse(text), surroundings)
    return lambda info: None if (value := value_of(info)) is MISSING else plain_of(value)


__all__ = [
    "ExpressionError",
    "Options",
    "Surroundings",
    "compile_plain",
    "compile_predicate",
    "compile_text",
    "compile_value",
    "parse",
]
