"""Which encoding a client wants of those that there are (RFC 9110 section 12.5.3), decided as Envoy does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

_LONGEST_REMEMBERED = 128
_NUMBER = re.compile(r"(?:[0-9]{1,6}\.?[0-9]{0,9}|\.[0-9]{1,9})(?:[eE][+-]?[0-9]{1,2})?\Z")


def parse_encodings(text: str) -> Sequence[tuple[str, float]]:
    """(encoding, quality) in the order of `accept-encoding`; those with a quality that is no number are left out.

    Names are as written: like Envoy's, our clients get `gzip` only if they say it in lower case.
    """
    return _remembered(text) if len(text) <= _LONGEST_REMEMBERED else _parse(text)


def _parse(text: str) -> Sequence[tuple[str, float]]:
    pairs = []
    for token in text.split(",")[:100]:
        name, _, parameters = token.partition(";")
        quality = 1.0
        parameter, equals, value = parameters.partition("=")
        if equals and parameter.strip().lower() == "q":
            value = value.strip()
            if not _NUMBER.match(value):
                continue
            quality = float(value)
        pairs.append((name.strip(), quality))
    return tuple(pairs)


_remembered = lru_cache(maxsize=64)(_parse)  # clients come in few kinds


def choose_encoding(text: str, available: Sequence[str], first: Sequence[str] = ()) -> tuple[str, str]:
    """The encoding ("identity" for none), and why: "valid", "identity", "wildcard" or "invalid".

    available: in the order of the filters. first: of them, those that win among equals, the last that the client names.
    """
    wanted = parse_encodings(text)
    refused = {name for name, quality in wanted if not quality}
    if refused:
        available = [name for name in available if name not in refused]
    choice, best = "identity", 0.0
    for name, quality in wanted if available else ():
        if name not in ("identity", "*") and name not in available:
            continue
        if quality > best or (quality == best and best > 0 and name in first):
            choice, best = name, quality
    if not best:
        return "identity", "invalid"
    if choice == "identity":
        return choice, "identity"
    if choice == "*":
        return available[0], "wildcard"
    return choice, "valid"
