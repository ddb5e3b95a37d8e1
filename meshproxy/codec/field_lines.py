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
from meshproxy.headers import Headers
from meshproxy.model.codec import HeaderKeyFormat
from meshproxy.name_writer import NameWriter

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
_MUST_BE_SINGLE = frozenset({"host", "content-length", "transfer-encoding"})
_NEVER_REMEMBERED = _SECRET | _VARYING


class NotPlain(Exception):
    """The head isn't of the plain shape; nothing is said about whether it's legal."""


# Field line without its CR LF -> (lower-case name, value without surrounding white space).
_lines: dict[str, tuple[str, str]] = {}
# Name as written -> (lower-case name, whether its lines may be remembered). Host isn't in it: its value has a syntax.
_names: dict[str, tuple[str, bool]] = {}
_remembered = _lines.get
_known = _names.get


def parse_fields(lines: list[str]) -> dict[str, str]:
    """Names and values of a head's field lines (Latin-1 text, no CR LF); of a repeated name only the last.

    Raises NotPlain. This loop is the dearest of the whole request path: most lines are hits, and a miss with a known
    name and a common value ("Name: value", printable, no more white space around) is done without a call.
    """
    fields: dict[str, str] = {}
    remembered = _remembered
    for line in lines:
        pair = remembered(line)
        if pair is not None:
            name, value = pair
            fields[name] = value
            continue
        written, _, value = line.partition(": ")
        rule = _known(written)
        # strip() returns the very same object when there is nothing to strip.
        if rule is None or not value or not value.isprintable() or value.strip() is not value:
            name, value = parse_field_line(line)
            fields[name] = value
            continue
        name, remember = rule
        fields[name] = value
        if remember:
            _remember(line, (name, value))
    return fields


def parse_field_line(line: str) -> tuple[str, str]:
    """Lower-case name and value of any plain field line. Raises NotPlain."""
    pair = _lines.get(line)
    if pair is not None:
        return pair
    written, colon, value = line.partition(":")
    if not colon:
        raise NotPlain
    name, remember = _names.get(written) or _check_name(written)
    value = value.strip(" \t")
    # isprintable() is quick and refuses all control bytes; what else it refuses (TAB, some obs-text) is looked at.
    if not value.isprintable() and has_control(value):
        raise NotPlain
    if name == "host" and not is_host(value):
        raise NotPlain
    pair = (name, value)
    if remember:
        _remember(line, pair)
    return pair


def _remember(line: str, pair: tuple[str, str]) -> None:
    if len(line) < LONGEST_REMEMBERED_LINE:
        if len(_lines) >= LINES_REMEMBERED:
            _lines.clear()
        _lines[line] = pair


def _check_name(written: str) -> tuple[str, bool]:
    if is_token(written) is None:
        raise NotPlain
    name = intern(written.lower())
    rule = (name, name not in _NEVER_REMEMBERED)
    if len(written) < LONGEST_REMEMBERED_LINE and name != "host":
        if len(_names) >= NAMES_REMEMBERED:
            _names.clear()
        _names[written] = rule
    return rule


def refill(headers: Headers, lines: list[str]) -> None:
    """Fill the fields of a head anew, keeping names that occur more than once.

    Raises NotPlain for those that must not: then two values would be an ambiguity about the message itself.
    """
    headers.fields = {}
    for line in lines:
        name, value = parse_field_line(line)
        if name in headers.fields and name in _MUST_BE_SINGLE:
            raise NotPlain
        headers.append_checked(name, value)


def names_as_written(lines: list[str], form: HeaderKeyFormat, reason: str = "") -> NameWriter:
    """Who writes the names as the first line of each does. reason: the reason phrase of a response."""
    names: dict[str, str] = {}
    for line in lines:
        written = line.partition(":")[0]
        names.setdefault(written.lower(), written)
    return NameWriter(names, proper=form.proper, reason=reason.strip(" \t") if form.reason else "")
