"""The grammar of Envoy's format strings: constant text, `%%`, and commands such as `%REQ(X-A?:PATH):20%`.

Source: "Access log / format strings" and "Substitution formatter" of Envoy's documentation; where that is silent
(what ends a parameter, what may carry a length) the real program was asked.
"""

from __future__ import annotations

import re

from meshproxy.records import dataclass

# The parameter ends at the first ")" that is followed by the end of the command, so it may hold ")" and "%".
_COMMAND = re.compile(r"%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]{1,18}))?%")


@dataclass(frozen=True, slots=True)
class Command:
    """One command. argument: what stands between the parentheses, None if there are none; length: after ":".

    position: index of its first "%" in the format.
    """

    name: str
    argument: str | None
    length: int | None
    position: int


class FormatError(ValueError):
    """A format string that can't be compiled; the message quotes it and says where."""

    def __init__(self, text: str, position: int, message: str) -> None:
        super().__init__(f"format {text!r}, position {position}: {message}")
        self.position = position


def parse_format(text: str) -> list[str | Command]:
    """Split a format into constant texts and commands, neighbouring constants joined.

    Raises FormatError where a "%" begins no command.
    """
    parts: list[str | Command] = []
    constant = ""
    position = 0
    while position < len(text):
        percent = text.find("%", position)
        if percent < 0:
            constant += text[position:]
            break
        constant += text[position:percent]
        if text.startswith("%%", percent):
            constant += "%"
            position = percent + 2
            continue
        match = _COMMAND.match(text, percent)
        if match is None:
            raise FormatError(text, percent, "no command begins here; a percent sign itself is written %%")
        if constant:
            parts.append(constant)
            constant = ""
        name, argument, length = match.groups()
        parts.append(Command(name, argument, None if length is None else int(length), percent))
        position = match.end()
    if constant:
        parts.append(constant)
    return parts
