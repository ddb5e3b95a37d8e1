"""URI templates: paths with variables (envoy.extensions.path.match.uri_template.v3, .rewrite.uri_template.v3).

    /video/{name}/frames/{rest=**}    `*` is one segment, `**` any number of them; a variable without a pattern is `*`.

A template becomes one RE2 expression with a group for each variable, so that matching takes time in proportion to the
path, whatever the template (CVE-2024-23323 was about compiling one for each request). What templates may say is Envoy's
("URI template" in its documentation): at most five variables, none twice, no operator behind `**`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from meshproxy.records import dataclass
from meshproxy.regex import Pattern, regex_matcher

_LITERAL = r"[A-Za-z0-9._~%!$&'()*+,;:@=-]"
_ONE, _REST = _LITERAL + "+", r"[A-Za-z0-9._~%!$&'()*+,;:@=/-]*"
_MOST_VARIABLES = 5
_LONGEST_NAME = 16
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
# Envoy takes a `*` inside of a segment, and lets it mean what it means in regular expressions.
_LITERAL_SEGMENT = re.compile(r"[A-Za-z0-9._~%!$&'()+,;:@=-]+\Z")
_PRINTABLE = re.compile(r"/[!-~]*\Z")
_REWRITE_LITERAL = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;:@=/-]*\Z")


@dataclass(frozen=True, slots=True)
class Template:
    """names: of the variables, in order. matches: whether a path without its query is of this form.

    pattern: the same, with a group for each variable.
    """

    names: tuple[str, ...]
    matches: Callable[[str], bool]
    pattern: Pattern


class _Reader:
    """Reads a template from left to right."""

    def __init__(self, text: str) -> None:
        if not _PRINTABLE.match(text):
            raise ValueError(f"a template begins with '/' and has no white space: '{text}'")
        self.left = text[1:]
        self.names: list[str] = []
        self.pattern = ""
        self._had_rest = False

    def read(self) -> None:
        """Raises ValueError."""
        while self.left:
            self.pattern += "/" + self._segment()
            if self.left == "/":
                self.pattern += "/"
                return
            if self.left.startswith("/"):
                self.left = self.left[1:]
            elif self.left:
                self.pattern += self._literal(self.left)
                return
        if not self.pattern:
            self.pattern = "/"

    def _segment(self) -> str:
        if self.left[0] == "{":
            return self._variable()
        if self.left[0] == "*":
            operator = "**" if self.left.startswith("**") else "*"
            self.left = self.left[len(operator) :]
            return self._operator(operator)
        literal, slash, rest = self.left.partition("/")
        self.left = slash + rest
        return self._literal(literal)

    def _operator(self, operator: str) -> str:
        if self._had_rest:
            raise ValueError("nothing but text can follow '**'")
        self._had_rest = operator == "**"
        return _REST if operator == "**" else _ONE

    @staticmethod
    def _literal(literal: str) -> str:
        if not _LITERAL_SEGMENT.match(literal):
            raise ValueError(f"'{literal}' can't stand in a path")
        return re.escape(literal)

    def _variable(self) -> str:
        content, closed, self.left = self.left[1:].partition("}")
        if not closed:
            raise ValueError("a '{' without its '}'")
        name, equals, pattern = content.partition("=")
        if not _NAME.match(name) or len(name) > _LONGEST_NAME:
            raise ValueError(f"'{name}' is no name of a variable: a letter, then up to 15 letters, digits and '_'")
        if name in self.names:
            raise ValueError(f"the variable '{name}' is there twice")
        if len(self.names) == _MOST_VARIABLES:
            raise ValueError(f"a template has at most {_MOST_VARIABLES} variables")
        if equals and not pattern:
            raise ValueError(f"the pattern of the variable '{name}' is empty")
        self.names.append(name)
        parts = []
        for part in (pattern or "*").split("/"):
            parts.append(self._operator(part) if part in ("*", "**") else self._literal(part))
        return f"({'/'.join(parts)})"


def compile_template(text: str) -> Template:
    """A `path_template`. Raises ValueError."""
    reader = _Reader(text)
    reader.read()
    return Template(tuple(reader.names), regex_matcher(reader.pattern), Pattern(reader.pattern.encode("ascii")))


def compile_rewrite(template: Template, text: str) -> Callable[[str], str]:
    """A `path_template_rewrite`: path without query -> path. Raises ValueError."""
    if not _PRINTABLE.match(text):
        raise ValueError(f"a rewrite begins with '/' and has no white space: '{text}'")
    parts: list[str | int] = []
    for index, part in enumerate(re.split(r"\{([^{}]*)\}", text)):
        if index % 2 == 0:
            if not _REWRITE_LITERAL.match(part):
                raise ValueError(f"'{part}' can't stand in a path")
            parts.append(part)
        elif part in template.names:
            parts.append(1 + template.names.index(part))
        else:
            raise ValueError(f"the template has no variable '{part}'")

    def rewrite(path: str) -> str:
        groups = template.pattern.whole(path)
        if groups is None:
            return path
        return "".join([part if isinstance(part, str) else groups[part] or "" for part in parts])

    return rewrite
