from __future__ import annotations

import pytest

from meshproxy.absolute_url import is_referer, parse_absolute_url


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://h", "h"),
        ("a-b+c.d://h:8/x", "h:8"),
        ("http://u:p@h?q", "h"),
        ("http://[::1]:8/", "[::1]:8"),
        ("http://h:65536", None),
        ("http://h:0", None),
        ("http://h#x", None),
        ("http://h_t", None),
        ("http://u@v@h", None),
        ("1http://h", None),
        ("http:///x", None),
        ("http://h/ x", None),
        ("h", None),
    ],
)
def test_host_of_an_absolute_url(url: str, host: str | None) -> None:
    parsed = parse_absolute_url(url)
    assert (parsed.host_and_port if parsed is not None else None) == host


@pytest.mark.parametrize("text", ["http://h/x?y", "/x", "x", "", "//h/x", "x/y:z", "http://@h/"])
def test_referers(text: str) -> None:
    assert is_referer(text)


@pytest.mark.parametrize("text", ["http://u@h/", "http://h/#x", "/#x", "about:blank", "x:y", 'x"', "\xe9", "/ "])
def test_no_referers(text: str) -> None:
    assert not is_referer(text)
