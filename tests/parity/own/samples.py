"""Texts that a matcher of the configuration takes, and texts that it just doesn't."""

from __future__ import annotations

import re._constants as sre  # type: ignore[import-not-found]  # private: the one reader of patterns at hand
import re._parser as parser  # type: ignore[import-not-found]  # typeshed leaves it out
from collections.abc import Iterable, Mapping
from typing import Any

STRANGE = "~"
"""Put into a text so that it is another one."""


def of_regex(pattern: str) -> str:
    """The shortest text that `pattern` takes, as far as it is of the plain kind; RE2's own syntax raises re.error."""
    return _of_items(parser.parse(pattern), [])


def _of_items(items: Iterable[Any], groups: list[str]) -> str:
    return "".join(_of_item(op, argument, groups) for op, argument in items)


def _of_item(op: Any, argument: Any, groups: list[str]) -> str:
    if op is sre.LITERAL:
        return chr(argument)
    if op is sre.NOT_LITERAL:
        return "a" if argument != ord("a") else "b"
    if op is sre.ANY:
        return "a"
    if op is sre.IN:
        return _of_set(argument)
    if op is sre.BRANCH:
        return _of_items(argument[1][0], groups)
    if op is sre.SUBPATTERN:
        return _of_items(argument[-1], groups)
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        least, most, what = argument
        return _of_items(what, groups) * max(least, min(1, most))
    return ""  # an anchor


def _of_set(members: list[Any]) -> str:
    categories = {sre.CATEGORY_DIGIT: "1", sre.CATEGORY_SPACE: " ", sre.CATEGORY_WORD: "a"}
    if members[0][0] is sre.NEGATE:
        return next(char for char in "az09-_/" if not any(_takes(member, char) for member in members[1:]))
    op, argument = members[0]
    if op is sre.LITERAL:
        return chr(argument)
    return chr(argument[0]) if op is sre.RANGE else categories.get(argument, "-")


def _takes(member: Any, char: str) -> bool:
    op, argument = member
    if op is sre.LITERAL:
        return ord(char) == argument
    if op is sre.RANGE:
        return bool(argument[0] <= ord(char) <= argument[1])
    return {sre.CATEGORY_DIGIT: char.isdigit(), sre.CATEGORY_WORD: char.isalnum() or char == "_"}.get(argument, False)


def of_string_match(match: Mapping[str, Any]) -> str:
    """Of a `StringMatcher`."""
    if "safe_regex" in match:
        return of_regex(match["safe_regex"].get("regex", ""))
    if "prefix" in match:
        return f"{match['prefix']}more"
    if "suffix" in match:
        return f"more{match['suffix']}"
    if "contains" in match:
        return f"a{match['contains']}b"
    return str(match.get("exact", "some"))


def of_header_match(match: Mapping[str, Any]) -> str | None:
    """A value that a `HeaderMatcher` takes; None if it wants the header to be missing."""
    wanted = {key.removesuffix("_match"): value for key, value in match.items() if key.endswith("_match")}
    if "invert" in wanted:
        return None if wanted["invert"] else of_header_match({k: v for k, v in match.items() if k != "invert_match"})
    if "string" in wanted:
        return of_string_match(wanted["string"])
    if "range" in wanted:
        return str(wanted["range"].get("start", 0))
    if "present" in wanted:
        return "some" if wanted["present"] else None
    if "safe_regex" in wanted:
        return of_regex(wanted["safe_regex"].get("regex", ""))
    return of_string_match(wanted)


def of_domain(domain: str) -> str:
    """A host of a virtual host's domain."""
    return "any.test" if domain == "*" else domain.replace("*", "some")
