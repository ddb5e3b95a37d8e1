"""Regular expressions in the language: RE2, of a bounded size, on the bytes of a text."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from meshproxy.cel.nodes import ExpressionError
from meshproxy.cel.values import EvaluationError, ValueMap
from meshproxy.regex import Pattern, regex_replacement

LARGEST = 100
"""Instructions that the program of an expression may have, as in Envoy."""


def compile_pattern(text: str) -> Pattern:
    """Raises ExpressionError for what RE2 refuses, or what is too large."""
    try:
        pattern = Pattern(text.encode("latin-1"))
    except ValueError as error:
        raise ExpressionError(str(error)) from None
    if pattern.size > LARGEST:
        raise ExpressionError(f"the regular expression {text!r} exceeds the allowed size")
    return pattern


@lru_cache(maxsize=64)
def _known(text: str) -> Pattern:
    return compile_pattern(text)


def _pattern(text: Any, subject: Any) -> Pattern:
    if type(text) is not str or type(subject) is not str:
        raise EvaluationError("a regular expression and what it is for are texts")
    try:
        return _known(text)
    except ExpressionError as error:
        raise EvaluationError(str(error)) from None


def matches(subject: Any, pattern: Any) -> bool:
    """Whether the expression matches anywhere in the text."""
    return _pattern(pattern, subject).search(subject) is not None


def capture(subject: Any, pattern: Any) -> str:
    """What the first group holds if the expression matches the whole text. Raises EvaluationError if it doesn't."""
    found = _pattern(pattern, subject).whole(subject)
    if found is None or len(found) < 2:
        raise EvaluationError("the regular expression captures nothing")
    return found[1] or ""


def capture_named(subject: Any, pattern: Any) -> ValueMap:
    """All groups of a match of the whole text, by name or number. Raises EvaluationError where there is none."""
    compiled = _pattern(pattern, subject)
    found = compiled.whole(subject)
    if found is None or len(found) < 2:
        raise EvaluationError("the regular expression captures nothing")
    names = {number: name for name, number in compiled.names.items()}
    return ValueMap({names.get(number, str(number)): found[number] or "" for number in range(1, len(found))})


def extract(subject: Any, pattern: Any, rewrite: Any) -> str:
    r"""`rewrite` with `\1` and its like replaced by the groups of the first match. Raises EvaluationError."""
    compiled = _pattern(pattern, subject)
    if type(rewrite) is not str:
        raise EvaluationError("what to rewrite to is a text")
    found = compiled.search(subject)
    if found is None:
        raise EvaluationError("the regular expression doesn't match")
    try:
        return regex_replacement(rewrite.encode("latin-1").decode("utf-8", "surrogateescape"), found)
    except ValueError as error:
        raise EvaluationError(str(error)) from None
