"""Making one path out of its many spellings, before any rule looks at it.

A rule that denies `/admin` is worth nothing if `/x/../admin` reaches the application. What counts as the same path is
decided by Envoy 1.40 (each rule below was compared with it; `tests/unit/routing/paths.json` holds the table), and the
steps come in its order: escaped slashes, normalisation, merging of slashes. The query is never touched.

Normalisation is that of RFC 3986 section 6.2.2 as browsers do it: dot segments are removed, also escaped ones; escaped
unreserved characters are decoded; a backslash is a slash; `"<>^{|}` and the backquote are escaped; every other escape
stays as it is written, in the case it has, and a stray `%` stays too. `%00` is refused. The parameters of a dot segment
(`/..;x=y/`) are dropped first, as servers behind may do. Decoding never makes a new escape: `%2%41` is `%252A`.

Invariants: no segment of the result is `.` or `..`; normalising twice gives what normalising once gives, unless a dot
segment with parameters had its dots escaped (`/%2e%2e;x/`), which Envoy decodes and leaves.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from meshproxy.records import dataclass

_HEX = frozenset("0123456789abcdefABCDEF")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPED = frozenset('"<>^`{|}')

# Up to where a path is made of characters that normalisation leaves alone; `.` and `/` need a second look.
_plain_end = re.compile(r"[!$&-;=@-\[\]_a-z~]*").match
# Both ends of this table are fixed, so it can't be slow: the parameters of a segment that begins with `.;` or `..;`.
_dot_parameters = re.compile(r"/(\.\.?);[^/]*").sub

_REMEMBERED_PATHS = 1024
_REMEMBERED_LENGTH = 256


@dataclass(frozen=True, slots=True)
class PathRedirect:
    """The client is sent to `path` (307), because its spelling hid a slash."""

    path: str


PathSanitizer = Callable[[str], str | PathRedirect | None]
"""Takes a request target in origin form; gives the one to use (the same object when nothing changes), a redirect, or
None: refuse with 400, details `path_normalization_failed`."""


def path_sanitizer(
    *,
    normalize: bool = False,
    merge: bool = False,
    escaped_slashes: str = "KEEP_UNCHANGED",
    reject_fragment: bool = True,
) -> PathSanitizer:
    """Compile the connection manager's path settings.

    escaped_slashes: KEEP_UNCHANGED, REJECT_REQUEST, UNESCAPE_AND_REDIRECT or UNESCAPE_AND_FORWARD; Envoy's
    IMPLEMENTATION_SPECIFIC_DEFAULT is the first. Raises ValueError for another one.
    """
    if escaped_slashes not in _ESCAPED_SLASHES_ACTIONS:
        raise ValueError(f"{escaped_slashes!r} is not an action for escaped slashes")
    keep = escaped_slashes in _ESCAPED_SLASHES_ACTIONS[:2]
    unchanged: dict[str, None] = {}

    def sanitize(path: str) -> str | PathRedirect | None:
        # The query is never touched, so what is remembered is the path before it.
        mark = path.find("?")
        bare = path if mark < 0 else path[:mark]
        if bare in unchanged and (mark < 0 or "#" not in path):
            return path
        if "#" not in path:
            result = apply(path)
        elif reject_fragment:
            return None
        else:
            result = apply(path[: path.index("#")])
        if result == path:
            # Paths repeat; the table is bounded, and begins anew when a flood of different ones fills it.
            if len(bare) <= _REMEMBERED_LENGTH:
                if len(unchanged) >= _REMEMBERED_PATHS:
                    unchanged.clear()
                unchanged[bare] = None
            return path
        return result

    def apply(path: str) -> str | PathRedirect | None:
        result = path
        found = False
        if not keep:
            result = unescape_slashes(path)
            found = result != path
            if found and escaped_slashes == "REJECT_REQUEST":
                return None
        if normalize:
            normal = normalize_path(result)
            if normal is None:
                return None
            result = normal
        if merge:
            result = merge_slashes(result)
        return PathRedirect(result) if found and escaped_slashes == "UNESCAPE_AND_REDIRECT" else result

    return sanitize


_ESCAPED_SLASHES_ACTIONS = (
    "KEEP_UNCHANGED",
    "IMPLEMENTATION_SPECIFIC_DEFAULT",
    "REJECT_REQUEST",
    "UNESCAPE_AND_REDIRECT",
    "UNESCAPE_AND_FORWARD",
)


def unescape_slashes(path: str) -> str:
    r"""Decode `%2f` to `/` and `%5c` to `\`, in either case; the query stays."""
    path, mark, query = path.partition("?")
    if "%" in path:
        path = path.replace("%2F", "/").replace("%2f", "/").replace("%5C", "\\").replace("%5c", "\\")
    return path + mark + query


def merge_slashes(path: str) -> str:
    """Make every run of slashes one, as Envoy does: a path of slashes only, two or more, becomes `//`."""
    if "//" not in path:
        return path
    path, mark, query = path.partition("?")
    if "//" in path:
        inner = "/".join([segment for segment in path.split("/") if segment])
        path = ("/" if path.startswith("/") else "") + inner + ("/" if path.endswith("/") else "")
    return path + mark + query


def normalize_path(path: str) -> str | None:
    """The normal form of `path`; the very same object when it is normal. None when it must be refused (`%00`)."""
    match = _plain_end(path)
    end = match.end() if match is not None else 0
    if (end == len(path) or path[end] == "?") and "/." not in path:
        return path
    path, mark, query = path.partition("?")
    if "/." in path and ";" in path:
        path = _dot_parameters(r"/\1", path)
    segments = _join_segments(path)
    return None if segments is None else segments + mark + query


def _join_segments(path: str) -> str | None:
    """Decode each segment, then remove the dot segments; None if one holds `%00`."""
    decoded: list[str] = []
    for segment in path.replace("\\", "/").split("/"):
        text = _normalize_segment(segment)
        if text is None:
            return None
        decoded.append(text)
    # decoded[0] is what stands before the first slash: nothing, in origin form.
    kept = decoded[:1]
    last = len(decoded) - 1
    for index, text in enumerate(decoded[1:], 1):
        if text == "..":
            if len(kept) > 1:
                kept.pop()
        elif text != ".":
            kept.append(text)
            continue
        if index == last:
            kept.append("")
    return "/".join(kept) if len(kept) > 1 else kept[0] + "/"


def _normalize_segment(segment: str) -> str | None:
    if "%" not in segment:
        return segment if _ESCAPED.isdisjoint(segment) else "".join(map(_escape, segment))
    output: list[str] = []
    stray = -3  # where in the output the last `%` stands that begins no escape
    index, end = 0, len(segment)
    while index < end:
        character = segment[index]
        if character != "%":
            output.append(_escape(character))
            index += 1
            continue
        if index + 2 >= end or segment[index + 1] not in _HEX or segment[index + 2] not in _HEX:
            stray = len(output)
            output.append("%")
            index += 1
            continue
        character = chr(int(segment[index + 1 : index + 3], 16))
        if character == "\0":
            return None
        escape = segment[index : index + 3]
        index += 3
        if character not in _UNRESERVED:
            output += escape
            continue
        output.append(character)
        if stray >= len(output) - 3:
            _break_nested_escape(output, stray, segment[index : index + 1])
    return "".join(output)


def _escape(character: str) -> str:
    return f"%{ord(character):02X}" if character in _ESCAPED else character


def _break_nested_escape(output: list[str], stray: int, following: str) -> None:
    """Escape the stray `%` when what was just decoded (or that and what follows) would turn it into an escape."""
    if stray == len(output) - 1 or output[stray + 1] not in _HEX:
        return
    second = output[stray + 2] if stray == len(output) - 3 else following
    if second in _HEX:
        output[stray] = "%25"
