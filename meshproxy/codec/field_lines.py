"""Header field lines to (name, value), remembered.

Real traffic repeats its header lines (`user-agent`, `accept`, `host`, `content-type`) and varies a few of them, so the
strict parse of a *line* is what is worth remembering: a hit costs one dict look-up. The table is bounded: it's emptied
when full, so a peer that sends ever new lines costs time but no memory. Credentials never enter it, nor do fields that
differ in every message, nor long lines.

A line that isn't of the plain shape (RFC 9112 section 5: token, colon, value without control bytes) raises `NotPlain`:
the caller leaves the fast road, and `h1_guard` says what is wrong, or that it is legal after all.
"""

from __future__ import annotations

import re
from sys import intern

from meshproxy.codec.target import is_host

LINES_REMEMBERED = 4096
NAMES_REMEMBERED = 1024
LONGEST_REMEMBERED_LINE = 128

is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
# Control bytes but TAB, and DEL (RFC 9110 section 5.5). `[^...]` on Latin-1 text lets obs-text pass.
has_control = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search

_SECRET = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "x-auth-token",
        "x-amz-security-token",
    }
    | {"x-csrf-token", "x-xsrf-token", "x-forwarded-client-cert", "www-authenticate", "authentication-info"}
)
_VARYING = frozenset(
    {"x-request-id", "traceparent", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-amzn-trace-id"}
    | {"date", "etag", "last-modified", "expires", "age", "x-envoy-upstream-service-time", "x-correlation-id"}
)
_NEVER_REMEMBERED = _SECRET | _VARYING


class NotPlain(Exception):
    """The head isn't of the plain shape; nothing is said about whether it's legal."""


class _Names(dict[str, str]):
    """Name as written -> lower-case name; the token rule is asked once per spelling."""

    def __missing__(self, written: str) -> str:
        if is_token(written) is None:
            raise NotPlain
        name = intern(written.lower())
        if len(written) < LONGEST_REMEMBERED_LINE:
            if len(self) >= NAMES_REMEMBERED:
                self.clear()
            self[written] = name
        return name


class _Lines(dict[str, tuple[str, str]]):
    """Field line without its CR LF -> (lower-case name, value without surrounding white space)."""

    def __missing__(self, line: str) -> tuple[str, str]:
        written, colon, value = line.partition(":")
        if not colon:
            raise NotPlain
        name = _names[written]
        value = value.strip(" \t")
        # isprintable() is quick and refuses all control bytes; what else it refuses (TAB, some obs-text) is looked at.
        if not value.isprintable() and has_control(value):
            raise NotPlain
        if name == "host" and not is_host(value):
            raise NotPlain
        pair = (name, value)
        if len(line) < LONGEST_REMEMBERED_LINE and name not in _NEVER_REMEMBERED:
            if len(self) >= LINES_REMEMBERED:
                self.clear()
            self[line] = pair
        return pair


_names = _Names()
_lines = _Lines()

#: Parse one field line (Latin-1 text, no CR LF). Raises NotPlain.
parse_field_line = _lines.__getitem__


def names_as_written(lines: list[str]) -> dict[str, str]:
    """Lower-case name -> the name as its first line wrote it."""
    names: dict[str, str] = {}
    for line in lines:
        written = line.partition(":")[0]
        names.setdefault(written.lower(), written)
    return names
