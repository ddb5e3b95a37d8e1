"""Host and request target (RFC 9112 section 3.2, RFC 3986 section 3.2): which are legal, and what they mean.

Envoy forwards some that the RFCs forbid (userinfo and impossible ports in Host, an unclosed IPv6 literal); two parsers
that disagree about an authority are a way round a policy, so they are refused here.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

# reg-name of RFC 3986: unreserved, sub-delims, and "%", which Envoy doesn't decode either.
_host = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|[A-Za-z0-9\-._~!$&'()*+,;=%]+)(?::([0-9]{0,5}))?").fullmatch
# What Envoy takes in a request target: letters, digits, "-", "." or an IPv6 literal, and a port that is written out.
_url_authority = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|[A-Za-z0-9\-.]+)(?::([0-9]{1,5}))?").fullmatch
_absolute = re.compile(r"([Hh][Tt][Tt][Pp][Ss]?)://([^/?#]*)(/[^?]*)?(\?.*)?").fullmatch
_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+\-.]*://").match


def _is_address(match: re.Match[str] | None) -> bool:
    """Is this match's IPv6 literal an address, and its port below 65536?"""
    if match is None:
        return False
    literal, port = match.groups()
    if literal is not None:
        try:
            IPv6Address(literal)
        except AddressValueError:
            return False
    return not port or int(port) < 65536


def is_host(value: str) -> bool:
    """May this be the value of a Host field (RFC 9110 section 7.2)? The empty one may."""
    return not value or _is_address(_host(value))


def is_connect_target(target: str) -> bool:
    """Is this an authority-form, `host:port` with both parts (RFC 9112 section 3.2.3)?"""
    match = _url_authority(target)
    return _is_address(match) and match is not None and match[2] is not None


def has_scheme(target: str) -> bool:
    """Does the target begin as an absolute-form does?"""
    return _scheme(target) is not None


def split_absolute(target: str) -> tuple[str, str, str] | None:
    """Scheme in lower case, authority and origin-form of an absolute-form; None when it's none of http or https.

    A target without a path gets "/" (RFC 9112 section 3.2.2). A fragment after a path stays visible in it.
    """
    match = _absolute(target)
    if match is None:
        return None
    scheme, authority, path, query = match.groups()
    return scheme.lower(), authority, (path or "/") + (query or "")


def is_url_authority(authority: str) -> bool:
    """May this be the authority of an absolute-form? No userinfo, no empty host, no empty port."""
    return _is_address(_url_authority(authority))
