"""Problems of a configuration for people: the place, the line itself, and a mark under the spot.

What is printed ends in logs that more people read than the file, so secrets in the line are covered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from meshproxy.errors import Problem

_BOLD, _RED, _CYAN, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[36m", "\x1b[0m"
_WIDTH = 160

_SECRET = r"\w*(?:secret|password|passphrase|private_key|api_key|ticket_keys|credentials?|pkcs12|token)"
_TELLING = re.compile(rf"(?i)\b{_SECRET}\b")
_VALUE = re.compile(
    rf"""(?i)(\b(?:{_SECRET}|inline_string|inline_bytes)["']?\s*:\s*)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s,{{}}\[\]]+)"""
)


def render_problems(problems: Sequence[Problem], texts: Mapping[str, str], *, color: bool) -> str:
    """All problems, one after the other. texts: the sources by name."""
    lines: list[str] = []
    split = {name: text.splitlines() for name, text in texts.items()}
    for problem in problems:
        lines.append(f"{_BOLD}{_RED}error:{_PLAIN} {problem}" if color else f"error: {problem}")
        source = split.get(problem.source, [])
        if 0 < problem.line <= len(source):
            text = source[problem.line - 1]
            if _TELLING.search(problem.path) or _TELLING.search(text):
                text = _VALUE.sub(lambda found: found[1] + "*" * len(found[2]), text)
            lines += _excerpt(text, problem.line, problem.column, color)
    if len(problems) > 1:
        lines.append(f"{len(problems)} problems")
    return "\n".join(lines) + "\n"


def _excerpt(text: str, line: int, column: int, color: bool) -> list[str]:
    """The line with a caret below; a long line is cut round the spot."""
    start = max(column - 1 - _WIDTH // 2, 0)
    shown = "".join([char if char.isprintable() else " " for char in text[start : start + _WIDTH]])
    number = str(line)
    margin = " " * len(number)
    caret = " " * max(column - 1 - start, 0) + "^"
    if color:
        return [f"{_CYAN}{number} |{_PLAIN} {shown}", f"{_CYAN}{margin} |{_PLAIN} {_BOLD}{_RED}{caret}{_PLAIN}"]
    return [f"{number} | {shown}", f"{margin} | {caret}"]
