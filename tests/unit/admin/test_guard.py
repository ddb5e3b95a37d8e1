"""Who may use the admin interface through a browser."""

import pytest

from meshproxy.runtime.admin.guard import refusal, split_host

OURS = frozenset(("proxy.internal",))


@pytest.mark.parametrize(
    "authority",
    ["localhost", "localhost:15000", "LOCALHOST:1", "127.0.0.1:15000", "10.1.2.3", "[::1]:15000", "[::1]",
     "a.localhost:1", "proxy.internal:15000"],
)  # fmt: skip
def test_hosts_that_are_ours(authority: str) -> None:
    assert refusal(authority, {}, True, OURS) is None


@pytest.mark.parametrize(
    "authority",
    ["evil.example", "evil.example:15000", "localhost.evil.example", "127.0.0.1.evil.example:80", "", ":80"],
)
@pytest.mark.parametrize("mutates", [True, False])
def test_foreign_host_names_are_refused_also_for_reading(authority: str, mutates: bool) -> None:
    reason = refusal(authority, {}, mutates, OURS)
    assert reason is not None
    assert "localhost or an IP address" in reason


@pytest.mark.parametrize(
    "fields",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"referer": "http://evil.example/page?localhost:15000"},
        {"origin": "http://[::1", "referer": "x"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_sites_change_nothing(fields: dict[str, str]) -> None:
    assert "another site" in (refusal("localhost:15000", fields, True, OURS) or "")
    assert refusal("localhost:15000", fields, False, OURS) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"origin": "http://localhost:15000"},
        {"origin": "http://localhost:15000", "referer": "http://localhost:15000/", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
def test_its_own_pages_may(fields: dict[str, str]) -> None:
    assert refusal("localhost:15000", fields, True, OURS) is None


def test_host_without_port_and_brackets() -> None:
    assert split_host("[2001:db8::1]:80") == "2001:db8::1"
    assert split_host("Name:80") == "name"
    assert split_host("10.0.0.1") == "10.0.0.1"
