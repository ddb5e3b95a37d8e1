"""Cookies of a request."""

from __future__ import annotations

from meshproxy.headers import RequestHeaders


def parse_cookies(request: RequestHeaders) -> dict[str, str]:
    """The first value of each cookie (RFC 6265 section 4.2), without its quotes."""
    cookies: dict[str, str] = {}
    for line in request.get_all("cookie"):
        for pair in line.split(";"):
            name, equals, value = pair.strip(" \t").partition("=")
            if equals and name not in cookies:
                if len(value) > 1 and value[0] == value[-1] == '"':
                    value = value[1:-1]
                cookies[name] = value
    return cookies
