"""Headers, matchers and what is done to headers."""

from __future__ import annotations

from typing import Any

from .dice import Dice

NAMES = ("x-a", "x-b", "x-user", "X-Mixed-Case", "accept-language", "user-agent", "cookie", "x-number-of", "referer")
VALUES = ("1", "22", "alpha", "Alpha", "beta-9", "a,b", "en-GB;q=0.5", "with space", "x=y", "%41")
FORMATS = (
    *("plain", "%REQ(X-A)%", "%REQ(X-Missing?X-B)%", "%REQ(:PATH):4%", "%PROTOCOL%", "%ROUTE_NAME%", "%%"),
    *("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "%REQ(:AUTHORITY)%|%REQ(:METHOD)%", "%VIRTUAL_CLUSTER_NAME%"),
    *("%REQUESTED_SERVER_NAME%", "%UPSTREAM_CLUSTER%", "%DYNAMIC_METADATA(gen:key)%", "%PATH(NQ:PATH)%"),
    *("%METADATA(ROUTE:gen:tier)%", "%DOWNSTREAM_TLS_VERSION%", "%QUERY_PARAM(q)%", "%REQ(COOKIE)%"),
)
ACTIONS = ("APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS")
REGEXES = ("a.*", "[0-9]+", "(?i)ALPHA", "^$|x", r"\w+-\d", "beta|alpha", ".*b$")


def string_match(dice: Dice) -> dict[str, Any]:
    found = dice.one_of(
        exact=lambda: dice.choice(VALUES),
        prefix=lambda: dice.choice(("a", "Al", "be", "w")),
        suffix=lambda: dice.choice(("9", "pha", "b", "y")),
        contains=lambda: dice.choice(("l", ",", "-", "ET")),
        safe_regex=lambda: {"regex": dice.choice(REGEXES)},
    )
    if "safe_regex" not in found and dice.often(0.3):
        found["ignore_case"] = True
    return found


def header_match(dice: Dice) -> dict[str, Any]:
    name = dice.choice((*NAMES, ":method", ":authority", ":path", ":scheme"))
    found: dict[str, Any] = {"name": name}
    found |= dice.one_of(
        string_match=lambda: string_match(dice),
        present_match=lambda: dice.often(0.6),
        range_match=lambda: {"start": dice.choice((-5, 0, 1)), "end": dice.choice((2, 23, 1000))},
    )
    if dice.often(0.25):
        found["invert_match"] = True
    if dice.often(0.2):
        found["treat_missing_header_as_empty"] = True
    return found


def additions(dice: Dice, names: tuple[str, ...] = (*NAMES[:4], "x-added", "x-late")) -> list[dict[str, Any]]:
    return [_addition(dice, names) for _ in range(dice.randint(1, 3))]


def _addition(dice: Dice, names: tuple[str, ...]) -> dict[str, Any]:
    option: dict[str, Any] = {"header": {"key": dice.choice(names), "value": dice.choice(FORMATS)}}
    if dice.often(0.7):
        option["append_action"] = dice.choice(ACTIONS)
    if dice.often(0.3):
        option["keep_empty_value"] = True
    return option


def mutated(dice: Dice, likelihood: float = 0.25) -> dict[str, Any]:
    """The four fields that hosts, routes, tables and weighted clusters have."""
    return dice.fields(
        likelihood,
        request_headers_to_add=lambda: additions(dice),
        request_headers_to_remove=lambda: dice.some(NAMES, 1, 2),
        response_headers_to_add=lambda: additions(dice, ("x-from", "x-up", "content-type", "x-added", "server")),
        response_headers_to_remove=lambda: dice.some(("x-up", "x-twice", "server", "date"), 1, 2),
    )


def mutations(dice: Dice) -> list[dict[str, Any]]:
    """Of `HeaderMutation`."""
    return [
        dice.one_of(append=lambda: _addition(dice, NAMES), remove=lambda: dice.choice(NAMES))
        for _ in range(dice.randint(1, 3))
    ]
