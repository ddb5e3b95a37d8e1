"""Whether the first bytes of a connection are HTTP, and which: the verdict of Envoy's http_inspector.

It looks at the first line only. The preface of HTTP/2 is `h2c`; a request line is `http/1.1` or, with any other or no
version, `http/1.0`. As in Envoy's parser the parts of the line are separated by anything up to a space, and the method
may be any token. A line that cannot become one of these is refused at its first wrong byte, not at its end: what waits
for an answer to a greeting of its own shouldn't wait for the time-out as well.
"""

from __future__ import annotations

import re
from enum import Enum

MAX_FIRST_LINE = 64 * 1024
"""Bytes that are looked at; as in Envoy."""

_PREFACE = b"PRI * HTTP/2"
_SEPARATORS = bytes(range(33))

# Each is one pass over the line: no part of it can match in two ways.
_common_line = re.compile(rb"[A-Z]+ /[\x21-\x7e]* HTTP/1\.1\r\n").match
_method_so_far = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").match
_separators = re.compile(rb"[\x00-\x20]+").match
_path = re.compile(rb"[/*][\x21-\x7e]*\Z").match
_absolute = re.compile(rb"[A-Za-z]+://[\x21-.0->@-\x7e]+(?:[/?][\x21-\x7e]*)?\Z").match
_authority = re.compile(rb"[\x21-.0->@-\x7e]+:[0-9]+\Z").match
_version = re.compile(rb"HTTP/[0-9]\.[0-9]\Z").match


class HttpVerdict(Enum):
    """NEED_MORE, NOT_HTTP, or the application protocol that filter chains match."""

    NEED_MORE = "need more"
    NOT_HTTP = "not HTTP"
    HTTP_1_0 = "http/1.0"
    HTTP_1_1 = "http/1.1"
    H2C = "h2c"


def sniff_http(data: bytes) -> HttpVerdict:
    """The verdict on the first bytes of a connection; `data` is all of them so far."""
    if _common_line(data, 0, MAX_FIRST_LINE) is not None:
        return HttpVerdict.HTTP_1_1
    preface = data[: len(_PREFACE)]
    if _PREFACE.startswith(preface):
        return HttpVerdict.H2C if len(preface) == len(_PREFACE) else HttpVerdict.NEED_MORE
    line_end = data.find(b"\n", 0, MAX_FIRST_LINE)
    if line_end >= 0:
        return _judge_line(data[:line_end])
    if len(data) >= MAX_FIRST_LINE or not _may_become_a_request(data):
        return HttpVerdict.NOT_HTTP
    return HttpVerdict.NEED_MORE


def _may_become_a_request(data: bytes) -> bool:
    """Whether more bytes can make a request line of this: looks at the method and one byte of the target."""
    method = _method_so_far(data)
    if method is None:
        return False
    gap = _separators(data, method.end())
    if gap is None:
        return method.end() == len(data)
    if b"\r" in gap.group() and gap.end() < len(data):
        return False
    # A lone CR never ends a line: only LF can follow it, or it was one of the separators in the line.
    carriage = data.find(b"\r", gap.end())
    return carriage < 0 or carriage == len(data) - 1


def _judge_line(line: bytes) -> HttpVerdict:
    if line.endswith(b"\r"):
        line = line[:-1]
    method = _method_so_far(line)
    if method is None or b"\r" in line:
        return HttpVerdict.NOT_HTTP
    rest = line[method.end() :]
    target = rest.lstrip(_SEPARATORS)
    if not target or len(target) == len(rest):
        return HttpVerdict.NOT_HTTP
    separator = next((index for index, byte in enumerate(target) if byte <= 32), len(target))
    target, version = target[:separator], target[separator:].strip(_SEPARATORS)
    is_target = _authority if method.group() == b"CONNECT" else _path
    if is_target(target) is None and _absolute(target) is None:
        return HttpVerdict.NOT_HTTP
    if version == b"HTTP/1.1":
        return HttpVerdict.HTTP_1_1
    return HttpVerdict.HTTP_1_0 if not version or _version(version) else HttpVerdict.NOT_HTTP
