"""The text of an expression to its tree.

Grammar: "Syntax" of the CEL language definition. It is read by recursive descent, one function for each level of
precedence; how deep an expression nests is bounded, so that a configuration can't exhaust the stack.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn

from meshproxy.cel.literals import int_literal, text_literal
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

_DEPTH = 40
_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\n\f]+|//[^\n]*)+)
    |(?P<text>(?:[rR][bB]?|[bB][rR]?)?(?:\"{3}(?:[^\\]|\\[\s\S])*?\"{3}|'{3}(?:[^\\]|\\[\s\S])*?'{3}
        |"(?:[^"\\\r\n]|\\[^\r\n])*"|'(?:[^'\\\r\n]|\\[^\r\n])*'))
    |(?P<float>(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?))
    |(?P<int>(?:0x[0-9a-fA-F]+|[0-9]+)[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<quoted>`[A-Za-z0-9_./\- ]+`)
    |(?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])""",
    re.VERBOSE,
)
# A raw text ends at the first quote, whatever stands before it.
_RAW = re.compile(r"""(?:[rR][bB]?|[bB][rR])(?:"{3}[\s\S]*?"{3}|'{3}[\s\S]*?'{3}|"[^"\r\n]*"|'[^'\r\n]*')""")
_WORDS = {"true": True, "false": False, "null": None}
_RESERVED = frozenset(
    (
        *("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop"),
        *("package", "namespace", "return", "var", "void", "while"),
    )
)
_RELATIONS = {"<": "_<_", "<=": "_<=_", ">": "_>_", ">=": "_>=_", "==": "_==_", "!=": "_!=_", "in": "@in"}
_SUMS = {"+": "_+_", "-": "_-_"}
_PRODUCTS = {"*": "_*_", "/": "_/_", "%": "_%_"}
_MACROS = {"exists": 2, "all": 2, "exists_one": 2, "filter": 2}


def parse(text: str) -> Node:
    """The tree of an expression. Raises ExpressionError with the position."""
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._index = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._expression()
        if self._kind != "end":
            self._fail(f"{self._value!r} is not expected here")
        return node

    @property
    def _kind(self) -> str:
        return self._tokens[self._index][0]

    @property
    def _value(self) -> str:
        return self._tokens[self._index][1]

    def _fail(self, message: str) -> NoReturn:
        position = self._tokens[self._index][2]
        raise ExpressionError(f"expression {self._text!r}, position {position}: {message}")

    def _accepts(self, *signs: str) -> str:
        """The sign that stands here, if it is one of these; it is passed over."""
        kind, value, _ = self._tokens[self._index]
        if value in signs and (kind == "sign" or (value == "in" and kind == "name")):
            self._index += 1
            return value
        return ""

    def _expect(self, sign: str) -> None:
        if not self._accepts(sign):
            self._fail(f"{sign!r} is expected, not {self._value or 'the end'!r}")

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > _DEPTH:
            self._fail("the expression nests too deeply")
        condition = self._or()
        if self._accepts("?"):
            positive = self._or()
            self._expect(":")
            condition = Call("_?_:_", (condition, positive, self._expression()))
        self._depth -= 1
        return condition

    def _joined(self, sign: str, function: str, operand: Callable[[], Node]) -> Node:
        operands = [operand()]
        while self._accepts(sign):
            operands.append(operand())
        return _balanced(function, operands)

    def _or(self) -> Node:
        return self._joined("||", "_||_", self._and)

    def _and(self) -> Node:
        return self._joined("&&", "_&&_", self._relation)

    def _chain(self, functions: dict[str, str], operand: Callable[[], Node]) -> Node:
        node = operand()
        while sign := self._accepts(*functions):
            node = Call(functions[sign], (node, operand()))
        return node

    def _relation(self) -> Node:
        return self._chain(_RELATIONS, self._sum)

    def _sum(self) -> Node:
        return self._chain(_SUMS, self._product)

    def _product(self) -> Node:
        return self._chain(_PRODUCTS, self._unary)

    def _unary(self) -> Node:
        if self._kind == "sign" and self._value in "!-" and self._value:
            sign, count = self._value, 0
            while self._accepts(sign):
                count += 1
            if sign == "-" and count == 1 and self._kind in ("int", "float"):
                return self._member(self._number("-"))
            node = self._member(self._primary())
            return Call("!_" if sign == "!" else "-_", (node,)) if count % 2 else node
        return self._member(self._primary())

    def _member(self, node: Node) -> Node:
        while True:
            if self._accepts("."):
                node = self._selected(node)
            elif self._accepts("["):
                node = Call("_[_]", (node, self._expression()))
                self._expect("]")
            elif self._kind == "sign" and self._value == "{" and isinstance(node, Name | Select):
                self._fail(CREATION)
            else:
                return node

    def _selected(self, node: Node) -> Node:
        kind, name = self._kind, self._value
        if kind not in ("name", "quoted") or name == "in" or name in _WORDS:
            self._fail(f"a field's name is expected, not {name or 'the end'!r}")
        self._index += 1
        if kind == "name" and self._accepts("("):
            arguments = self._arguments(")")
            if _MACROS.get(name) == len(arguments) or (name == "map" and len(arguments) in (2, 3)):
                self._fail(COMPREHENSION)
            return Call(name, arguments, node)
        return Select(node, name.strip("`"))

    def _arguments(self, closing: str) -> tuple[Node, ...]:
        arguments: list[Node] = []
        while not self._accepts(closing):
            arguments.append(self._expression())
            if not self._accepts(","):
                self._expect(closing)
                break
            if closing == ")" and self._value == ")":
                self._fail("an argument is expected")
        return tuple(arguments)

    def _primary(self) -> Node:
        kind, value, _ = self._tokens[self._index]
        if kind in ("int", "float"):
            return self._number("")
        if kind == "text":
            self._index += 1
            return Constant(self._literal(text_literal, value))
        if kind == "name" or value == ".":
            return self._named()
        if self._accepts("("):
            node = self._expression()
            self._expect(")")
            return node
        if self._accepts("["):
            return ListOf(self._arguments("]"))
        if self._accepts("{"):
            return self._map()
        self._fail(f"an expression is expected, not {value or 'the end'!r}")

    def _named(self) -> Node:
        self._accepts(".")  # a leading dot means the outermost scope, and there is no other
        kind, name = self._kind, self._value
        if kind != "name" or name == "in":
            self._fail(f"a name is expected, not {name or 'the end'!r}")
        if name in _RESERVED:
            self._fail(f"{name!r} is a reserved word")
        self._index += 1
        if name in _WORDS:
            return Constant(_WORDS[name])
        if not self._accepts("("):
            return Name(name)
        if name != "has":
            return Call(name, self._arguments(")"))
        arguments = self._arguments(")")
        if len(arguments) != 1 or not isinstance(arguments[0], Select):
            self._fail("has() takes the selection of a field")
        return Select(arguments[0].operand, arguments[0].field, only_test=True)

    def _map(self) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not self._accepts("}"):
            key = self._expression()
            self._expect(":")
            entries.append((key, self._expression()))
            if not self._accepts(","):
                self._expect("}")
                break
        return MapOf(tuple(entries))

    def _number(self, sign: str) -> Node:
        kind, value = self._kind, self._value
        number = self._literal(int_literal, sign + value) if kind == "int" else float(sign + value)
        self._index += 1
        return Constant(number)

    def _literal(self, read: Callable[[str], object], source: str) -> object:
        try:
            return read(source)
        except ValueError as error:
            self._fail(str(error))


def _balanced(function: str, operands: list[Node]) -> Node:
    """Many operands of one logical operator as a tree that isn't deep; their order stays."""
    if len(operands) == 1:
        return operands[0]
    middle = (len(operands) + 1) // 2
    return Call(function, (_balanced(function, operands[:middle]), _balanced(function, operands[middle:])))


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """(kind, source, position) of each token, and one of the kind "end"."""
    tokens: list[tuple[str, str, int]] = []
    position = 0
    while position < len(text):
        match = _RAW.match(text, position)
        kind = "text"
        if match is None:
            match = _TOKEN.match(text, position)
            if match is None:
                raise ExpressionError(f"expression {text!r}, position {position}: {text[position]!r} begins no token")
            kind = match.lastgroup or ""
        if kind != "space":
            tokens.append((kind, match.group(), position))
        position = match.end()
    tokens.append(("end", "", position))
    return tokens
