"""stateful_session: which host is asked for, and what clients may send instead of an address."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy.testing.stream import HarnessStream
from meshproxy_filters.http.stateful_session import StatefulSession, read_address, write_address

HTTP = "type.googleapis.com/envoy.extensions.http.stateful_session."
KIND = "envoy.http.stateful_session."


def session(strict: bool = False, **cookie: Any) -> FilterHarness:
    state = {"@type": f"{HTTP}cookie.v3.CookieBasedSessionState", "cookie": {"name": "s", **cookie}}
    return FilterHarness(
        StatefulSession, {"session_state": {"name": KIND + "cookie", "typed_config": state}, "strict": strict}
    )


def at(host: str) -> Any:
    def prepare(stream: HarnessStream) -> None:
        stream.upstream_host = host

    return prepare


def test_a_client_is_told_its_host_and_asks_for_it() -> None:
    harness = session(ttl="60s", path="/")
    first = harness.request(prepare=at("192.0.2.7:80"))
    cookie = first.response["set-cookie"]
    assert cookie.startswith('s="')
    assert cookie.endswith('"; Max-Age=60; Path=/; HttpOnly')
    value = cookie.split('"')[1]
    again = harness.request(headers={"cookie": f'a=b; s="{value}"'}, prepare=at("192.0.2.7:80"))
    assert again.stream.lb_override == "192.0.2.7:80"
    assert "set-cookie" not in again.response
    moved = harness.request(headers={"cookie": f"s={value}"}, prepare=at("192.0.2.8:80"))
    assert "set-cookie" in moved.response
    harness.clock.advance(62)
    assert harness.request(headers={"cookie": f"s={value}"}).stream.lb_override == ""


@pytest.mark.parametrize("strict", [False, True])
def test_strictness_counts_only_with_an_address(strict: bool) -> None:
    value = write_address("192.0.2.7:80", 0)
    asked = session(strict).request(headers={"cookie": f"s={value}"}).stream
    assert asked.lb_override_strict is strict
    assert session(strict).request().stream.lb_override_strict is False


def test_a_kind_is_found_by_its_name_as_in_envoy() -> None:
    state = {"@type": f"{HTTP}header.v3.HeaderBasedSessionState", "name": "X-S"}
    with pytest.raises(ConfigError, match="the kinds of session are"):
        FilterHarness(StatefulSession, {"session_state": {"name": "nothing", "typed_config": state}})


def test_a_field_instead_of_a_cookie() -> None:
    state = {"@type": f"{HTTP}header.v3.HeaderBasedSessionState", "name": "X-S"}
    harness = FilterHarness(StatefulSession, {"session_state": {"name": KIND + "header", "typed_config": state}})
    told = harness.request(prepare=at("[2001:db8::1]:80")).response["x-s"]
    assert base64.b64decode(told) == b"[2001:db8::1]:80"
    assert harness.request(headers={"x-s": told}).stream.lb_override == "[2001:db8::1]:80"


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 20, b"\x0a\x7fshort", b"\x0a", b"\x0b\x0c", b"\x0a\x02\xff\xfe", b"\x08\x01"]
)
def test_whatever_clients_send_is_an_address_or_nothing(data: bytes) -> None:
    assert read_address(base64.b64encode(data).decode(), 0.0, cookie=True) == ""


def test_an_address_survives() -> None:
    for expires in (0, 1, 127, 128, 1 << 40):
        assert read_address(write_address("a:1", expires), 0.5, cookie=True) == "a:1"
    assert read_address("no base64!", 0.0, cookie=False) == ""
