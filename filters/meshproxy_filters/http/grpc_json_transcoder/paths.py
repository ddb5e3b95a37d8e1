"""Paths of `google.api.http` annotations, and which of them a request has (google/api/http.proto, "Path template").

    Template = "/" Segments [ ":" LITERAL ]     Segments = Segment { "/" Segment }
    Segment  = "*" | "**" | LITERAL | "{" FieldPath [ "=" Segments ] "}"

Theory. A template becomes a regular expression of groups that can't overlap, so it takes linear time. Those of one
method are tried the most specific first: segment by segment a literal is more so than `*`, and that than `**`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from meshproxy.records import dataclass

R = TypeVar("R")

_RESERVED = b"!#$&'()*+,/:;=?@[]"
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_LITERAL, _ONE, _MANY = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Variable:
    """field: the path of the field that it sets. many: it may have more than one segment."""

    field: tuple[str, ...]
    group: str
    many: bool


@dataclass(frozen=True, slots=True)
class Template:
    """rank: sorts the more specific one first."""

    pattern: re.Pattern[str]
    variables: tuple[Variable, ...]
    verb: str
    rank: tuple[int, ...]


def parse_template(text: str) -> Template:
    """Raises ValueError for what is none."""
    if not text.startswith("/"):
        raise ValueError(f"'{text}' doesn't begin with '/'")
    body, verb = text, ""
    last = text.rfind("}")
    colon = text.find(":", max(last, text.rfind("/")))
    if colon >= 0:
        body, verb = text[:colon], text[colon + 1 :]
    parser = _Parser(body)
    pattern = parser.segments(outer=True)
    if parser.at != len(body):
        raise ValueError(f"'{text}' isn't a path template")
    return Template(re.compile(pattern + r"\Z", re.DOTALL), tuple(parser.variables), verb, tuple(parser.rank))


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 1 if text.startswith("/") else 0
        self.variables: list[Variable] = []
        self.rank: list[int] = []

    def segments(self, *, outer: bool) -> str:
        """Their pattern; the first of outer ones has its slash before it, an inner one stands behind one."""
        pattern, first = "", True
        while True:
            slash = "" if first and not outer else "/"
            pattern += self._segment(slash, outer)
            first = False
            if self.at >= len(self.text) or self.text[self.at] != "/":
                return pattern
            self.at += 1

    def _segment(self, slash: str, outer: bool) -> str:
        text = self.text
        if text.startswith("**", self.at):
            self.at += 2
            self.rank.append(_MANY)
            return "(?:/.*)?" if slash else ".*"
        if text.startswith("*", self.at):
            self.at += 1
            self.rank.append(_ONE)
            return slash + "[^/]+"
        if outer and text.startswith("{", self.at):
            return slash + self._variable()
        end = self.at
        while end < len(text) and text[end] not in "/{}*=":
            end += 1
        literal = text[self.at : end]
        if not literal and (self.at != len(text) or len(text) > 1):
            raise ValueError(f"'{text}' has an empty segment")
        self.at = end
        self.rank.append(_LITERAL)
        return slash + re.escape(literal)

    def _variable(self) -> str:
        text = self.text
        end = self.at + 1
        while end < len(text) and (text[end].isalnum() or text[end] in "._"):
            end += 1
        field = tuple(text[self.at + 1 : end].split("."))
        if not all(field):
            raise ValueError(f"'{text}' has a variable without a name")
        self.at, start = end, len(self.rank)
        if text.startswith("=", self.at):
            self.at += 1
            inner = self.segments(outer=False)
        else:
            inner = "[^/]+"
            self.rank.append(_ONE)
        if not text.startswith("}", self.at):
            raise ValueError(f"'{text}' has a variable without an end")
        self.at += 1
        group = f"v{len(self.variables)}"
        many = len(self.rank) - start > 1 or _MANY in self.rank[start:]
        self.variables.append(Variable(field, group, many))
        return f"(?P<{group}>{inner})"


class PathTable(Generic[R]):
    """Which of the rules a request means. any_verb: what follows a last colon is a verb even if no rule has it."""

    def __init__(self, rules: Iterable[tuple[str, Template, R]], *, any_verb: bool, unescape: str) -> None:
        """rules: method, template and what it stands for. unescape: Envoy's `UrlUnescapeSpec`."""
        self._rules: dict[tuple[str, str], list[tuple[Template, R]]] = {}
        self._verbs = set()
        self._any_verb = any_verb
        self._unescape = unescape
        for method, template, rule in rules:
            self._rules.setdefault((method, template.verb), []).append((template, rule))
            self._verbs.add(template.verb)
        for listed in self._rules.values():
            listed.sort(key=lambda each: each[0].rank)

    def find(self, method: str, path: str) -> tuple[R, list[tuple[tuple[str, ...], str]]] | None:
        """The rule and what its variables are. path: without its query."""
        verb = ""
        colon = path.rfind(":")
        if colon > path.rfind("/") and (self._any_verb or path[colon + 1 :] in self._verbs):
            path, verb = path[:colon], path[colon + 1 :]
        for template, rule in self._rules.get((method, verb), ()):
            match = template.pattern.match(path)
            if match is not None:
                values = [
                    (variable.field, unescape(match[variable.group], self._unescape if variable.many else ""))
                    for variable in template.variables
                ]
                return rule, values
        return None


def unescape(text: str, keep: str = "", *, plus: bool = False) -> str:
    """Percent-decoded. keep: Envoy's name for what stays as it is, "" for nothing. plus: "+" is a space."""
    data = text.encode("latin-1")
    if plus:
        data = data.replace(b"+", b" ")
    if keep == "ALL_CHARACTERS_EXCEPT_RESERVED":
        data = _decode_except(data, _RESERVED)
    elif keep == "ALL_CHARACTERS_EXCEPT_SLASH":
        data = _decode_except(data, b"/")
    else:
        data = unquote_to_bytes(data)
    return data.decode("utf-8", "replace")


def _decode_except(data: bytes, kept: bytes) -> bytes:
    def decode(match: re.Match[bytes]) -> bytes:
        byte = bytes.fromhex(match[1].decode())
        return match[0] if byte in kept else byte

    return _ESCAPE.sub(decode, data)
