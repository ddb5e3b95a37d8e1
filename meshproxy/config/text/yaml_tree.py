"""Text to a tree of marked nodes: YAML 1.1 as Envoy reads it, and JSON by the same road.

PyYAML's C composer makes the nodes. What a plain scalar *is* gets decided later, when the type of its field is known,
and by the rules of Envoy's reader (yaml-cpp, `ValueUtil::loadFromYaml`), not by PyYAML's: `n` and `off` are booleans,
`010` is eight, `1_000`, `0o10` and `1.5` are strings. So nodes carry one of two tags, PLAIN or TEXT (quoted, or a
block scalar).

Input is bounded here: nesting by `MAX_DEPTH` (the depth that Envoy's JSON parser allows), checked while composing
because libyaml itself has no limit and needs quadratic time. Aliases make the tree a graph, and a recursive one, if
the input says so: whoever walks it bounds depth and number of nodes (`proto_tree`).
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml._yaml import CParser  # type: ignore[import-not-found, unused-ignore]  # no stubs for it
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from meshproxy.errors import ConfigError, Problem

PLAIN = "plain"
TEXT = "text"
IGNORED_KEY = "!ignore"  # a key with this tag is left out: Envoy's way of giving anchors a home
MAX_DEPTH = 100
_MAX_NODES = 10_000  # of a single value

BOOLEANS: dict[str, bool] = {
    spelling: value
    for word, value in (("y", True), ("yes", True), ("true", True), ("on", True))
    for spelling in (word, word.upper(), word.capitalize())
} | {spelling: False for word in ("n", "no", "false", "off") for spelling in (word, word.upper(), word.capitalize())}
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_INTEGER = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]+)|([1-9][0-9]*|0))\Z")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
_SURROGATES = re.compile(r"(?<!\\)((?:\\\\)*)\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)

Scalar = bool | int | float | str | None


def plain_value(text: str) -> Scalar:
    """What an unquoted scalar means to Envoy. Integers beyond 32 bits are strings of decimal digits, as there."""
    if text in BOOLEANS:
        return BOOLEANS[text]
    if text in _NULLS:
        return None
    if text[0] in "+-0123456789":
        match = _INTEGER.match(text)
        if match:
            sign, hexadecimal, octal, decimal = match.groups()
            number = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
            number = -number if sign == "-" else number
            if -(2**31) <= number < 2**31:
                return number
            return str(number) if -(2**63) <= number < 2**63 else text
    return text


def json_value(text: str) -> Scalar:
    """What an unquoted scalar means in JSON (RFC 8259). Raises ValueError for what isn't JSON."""
    if text in ("true", "false"):
        return text == "true"
    if text == "null":
        return None
    if _JSON_NUMBER.match(text):
        return float(text) if set(text) & set(".eE") else int(text)
    raise ValueError(f"{text!r} is not a JSON value")


class _Composer(CParser):  # type: ignore[misc, unused-ignore]  # as above
    """The C composer with our tags instead of YAML's, and with a bound on nesting."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def resolve(self, kind: type[Node], value: str | None, implicit: Any) -> str:
        if kind is not ScalarNode:
            return PLAIN
        return PLAIN if implicit[0] else TEXT

    def descend_resolver(self, parent: Node | None, index: object) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            mark = parent.start_mark if parent is not None else None
            raise yaml.MarkedYAMLError(None, None, f"more than {MAX_DEPTH} levels of nesting", mark)

    def ascend_resolver(self) -> None:
        self._depth -= 1


def compose(text: str, source: str, *, json: bool = False) -> MappingNode:
    """The tree of one document. Raises ConfigError, with the place, for what isn't YAML or no mapping.

    json: only the brackets of JSON are accepted around it, not YAML's indentation.
    """
    if "\\u" in text:
        # JSON writes characters beyond the first plane as two escapes, which libyaml doesn't put together.
        text = _SURROGATES.sub(_join_surrogates, text)
    try:
        parser = _Composer(text)
        try:
            node = parser.get_single_node()
        finally:
            parser.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        message = " ".join(part for part in (error.context, error.problem) if part)
        lines = text.split("\n")
        # The mark of an unexpected end is the line behind the last.
        if mark and mark.line < len(lines) and lines[mark.line][mark.column : mark.column + 1] == "\t":
            message = "a tab, where only spaces may indent"
        raise ConfigError(Problem("", f"not valid YAML: {message}", source, line, column)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 0
        raise ConfigError(Problem("", f"not valid YAML: {error.reason}", source, line, 1)) from None
    except UnicodeEncodeError:
        raise ConfigError(Problem("", "not valid Unicode: a lone surrogate", source)) from None
    if node is None:
        raise ConfigError(Problem("", "the file is empty", source))
    if type(node) is not MappingNode:
        raise ConfigError(Problem("", f"a mapping is expected, not {kind_of(node)}", source, *place_of(node)))
    if json and not node.flow_style:
        raise ConfigError(Problem("", "not JSON: '{' is expected (YAML is in files .yaml)", source, *place_of(node)))
    return node


def read_value(text: str) -> Any:
    """One value of YAML, of any kind, in plain Python: scalars as `plain_value` has them. Raises ConfigError."""
    try:
        parser = _Composer(text)
        try:
            node = parser.get_single_node()
        finally:
            parser.dispose()
        return None if node is None else _plain(node, [_MAX_NODES], 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(Problem("", f"not valid YAML: {place}{error.problem or error.context}")) from None
    except (yaml.reader.ReaderError, UnicodeEncodeError) as error:
        raise ConfigError(Problem("", f"not valid YAML: {error}")) from None


def _plain(node: Node, left: list[int], depth: int) -> Any:
    """left: how many more nodes may come. Aliases can make a few lines very many, and endless."""
    left[0] -= 1
    if left[0] < 0 or depth > MAX_DEPTH:
        raise ConfigError(Problem("", "too many values in one, or too deep"))
    if type(node) is MappingNode:
        return {str(key.value): _plain(value, left, depth + 1) for key, value in node.value}
    if type(node) is SequenceNode:
        return [_plain(element, left, depth + 1) for element in node.value]
    return node.value if is_quoted(node) else plain_value(node.value)


def _join_surrogates(match: re.Match[str]) -> str:
    high, low = int(match[2], 16), int(match[3], 16)
    return f"{match[1]}\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def place_of(node: Node) -> tuple[int, int]:
    """Line and column of a node, from 1."""
    mark = node.start_mark
    return mark.line + 1, mark.column + 1


def is_quoted(node: Node) -> bool:
    """True for a scalar that is text whatever it looks like."""
    return bool(node.tag == TEXT)


def is_null(node: Node) -> bool:
    """True for an unquoted scalar that is one of YAML's nulls."""
    return type(node) is ScalarNode and node.value in _NULLS and node.tag != TEXT


def kind_of(node: Node) -> str:
    """What a node is, for messages."""
    if type(node) is MappingNode:
        return "a mapping"
    if type(node) is SequenceNode:
        return "a list"
    return f"{node.value!r}" if len(node.value) <= 60 else f"{node.value[:57]!r}..."
