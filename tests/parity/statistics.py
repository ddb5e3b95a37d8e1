"""The statistics of a program that serves many cases: some twenty thousand lines, of which a case wants a few."""

from __future__ import annotations

import re
import re._constants as sre  # type: ignore[import-not-found]  # private: the one reader of patterns at hand
import re._parser as parser  # type: ignore[import-not-found]  # typeshed leaves it out
from collections.abc import Collection, Iterable, Iterator
from typing import Any


class Statistics:
    """What /stats answered, line by line."""

    def __init__(self, text: str) -> None:
        self._text = text if text.endswith("\n") else text + "\n"

    def wanted(self, pattern: str, words: Collection[str]) -> list[str]:
        """The lines whose names match. words: what names the case; a pattern that can't match without one of them is
        held only against lines that have one, which costs a hundredth.
        """
        matches = re.compile(pattern).search
        words = [word for word in words if word in pattern]
        lines = self._lines_with(words) if needs(pattern, words) else self._text.splitlines()
        return [line for line in lines if matches(line.partition(": ")[0])]

    def _lines_with(self, words: Collection[str]) -> list[str]:
        starts = sorted({self._text.rfind("\n", 0, at) + 1 for word in words for at in self._places(word)})
        return [self._text[start : self._text.index("\n", start)] for start in starts]

    def _places(self, word: str) -> Iterator[int]:
        at = self._text.find(word)
        while at >= 0:
            yield at
            at = self._text.find(word, at + len(word))


def needs(pattern: str, words: Collection[str]) -> bool:
    """Whether the regular expression matches nothing without one of `words` in it, as far as is easily told."""
    return _needs(parser.parse(pattern), words)


def _needs(parsed: Iterable[tuple[Any, Any]], words: Collection[str]) -> bool:
    literal = ""
    for kind, what in parsed:
        if kind is sre.LITERAL:
            literal += chr(what)
            continue
        literal += "\0"  # whatever isn't literal
        match kind:
            case sre.SUBPATTERN:
                found = _needs(what[-1], words)
            case sre.BRANCH:
                found = all(_needs(each, words) for each in what[1])
            case sre.MAX_REPEAT:
                found = what[0] > 0 and _needs(what[2], words)
            case _:
                found = False
        if found:
            return True
    return any(word in literal for word in words)
