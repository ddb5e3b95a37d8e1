"""URLs as Envoy reads them where a header has one: `Referer`, `Origin`.

Not for the target of a request, which has its own, stricter rules (`codec/target.py`).
"""

from __future__ import annotations

import re

from meshproxy.records import dataclass

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*"
_HOST = r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])"
_URL = re.compile(
    rf"{_SCHEME}://(?:(?P<user>[^@/?#\s]*)@)?(?P<host_and_port>{_HOST}(?::(?P<port>[0-9]{{1,5}}))?)"
    r"(?:[/?](?P<rest>[!-~]*))?\Z"
)
_RELATIVE = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%:@/?-]*\Z")


@dataclass(frozen=True, slots=True)
class AbsoluteUrl:
    """host_and_port: as written, with the port only where there is one."""

    host_and_port: str
    has_user: bool
    has_fragment: bool


def parse_absolute_url(text: str) -> AbsoluteUrl | None:
    """None for what is no absolute URL with a host."""
    found = _URL.match(text)
    if found is None or (found["port"] and not 0 < int(found["port"]) < 65536):
        return None
    return AbsoluteUrl(found["host_and_port"], bool(found["user"]), "#" in (found["rest"] or ""))


def is_referer(text: str) -> bool:
    """Whether it is an absolute URL or a relative reference, without user or fragment (RFC 9110 10.1.3)."""
    url = parse_absolute_url(text)
    if url is not None:
        return not url.has_user and not url.has_fragment
    first_segment = text.partition("/")[0]
    return ":" not in first_segment and _RELATIVE.match(text) is not None
