"""What an `x-forwarded-client-cert` field says (Envoy: "x-forwarded-client-cert").

field = element *( "," element )    element = pair *( ";" pair )    pair = key [ "=" ( value / quoted ) ]
"""

from __future__ import annotations

import re

KEYS = ("by", "hash", "cert", "chain", "subject", "uri", "dns")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(rf"((?:{_QUOTED}|[^\",;])*)([,;]?)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def xfcc_value(field: str | None, key: str) -> str | None:
    """The value of `key`, in lower case, in the first element that has it; None for none, and for a field whose quotes
    aren't closed before that."""
    if field is None:
        return None
    at = 0
    while at < len(field):
        match = _PAIR.match(field, at)
        assert match is not None  # it matches nothing as well
        at = match.end()
        if at < len(field) and not match[2]:
            return None  # a quote without its end
        name, _, value = match[1].partition("=")
        if name.strip().lower() == key:
            return _unquoted(value.strip())
    return None


def _unquoted(value: str) -> str:
    return _ESCAPED.sub(r"\1", value[1:-1]) if len(value) > 1 and value[0] == value[-1] == '"' else value
