"""basic_auth, api_key_auth, ip_tagging and json_to_metadata."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.api_key_auth import ApiKeyAuth
from meshproxy_filters.http.basic_auth import BasicAuth
from meshproxy_filters.http.json_to_metadata import JsonToMetadata


def users(**passwords: str) -> dict[str, Any]:
    lines = [
        f"{name}:{{SHA}}{base64.b64encode(hashlib.sha1(password.encode(), usedforsecurity=False).digest()).decode()}"
        for name, password in passwords.items()
    ]
    return {"inline_string": "\n".join(lines)}


def basic(text: bytes) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text).decode()}"}


def test_a_name_that_nobody_has_is_like_a_wrong_password() -> None:
    harness = FilterHarness(BasicAuth, {"users": users(u="p")})
    wrong, unknown = harness.request(headers=basic(b"u:x")), harness.request(headers=basic(b"z:x"))
    assert (wrong.status, wrong.response_body) == (unknown.status, unknown.response_body)
    assert harness.request(headers=basic(b"u:p")).reached_upstream


def test_a_quote_in_a_path_ends_no_realm() -> None:
    exchange = FilterHarness(BasicAuth, {"users": users(u="p")}).request(path='/a"b')
    assert exchange.response["www-authenticate"] == 'Basic realm="http://test.example/a%22b"'


KEYS = {
    "credentials": [{"key": "k", "client": "c"}],
    "key_sources": [{"query": "key"}, {"cookie": "ck"}],
    "forwarding": {"header": "x-client", "hide_credentials": True},
}


def test_hiding_a_key_leaves_the_rest_of_a_query_as_it_was() -> None:
    exchange = FilterHarness(ApiKeyAuth, KEYS).request(path="/a?x=%20%26&k%65y=k&flag&y=")
    assert exchange.upstream_headers.path == "/a?x=%20%26&flag&y="
    assert exchange.upstream_headers["x-client"] == "c"


def test_the_name_of_a_client_can_not_be_claimed() -> None:
    harness = FilterHarness(ApiKeyAuth, KEYS)
    exchange = harness.request(path="/?key=k", headers=[("x-client", "root"), ("x-client", "admin")])
    assert exchange.upstream_headers.get_all("x-client") == ["c"]


def harness_of_json(**more: Any) -> FilterHarness:
    rule = {
        "selectors": [{"key": "a"}],
        "on_present": {"metadata_namespace": "ns", "key": "a", **more},
        "on_error": {"metadata_namespace": "ns", "key": "a", "value": "error"},
    }
    return FilterHarness(JsonToMetadata, {"request_rules": {"rules": [rule]}})


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":NaN}', b'{"a":1', b"\xff", b'{"a":"\xff"}'])
def test_what_is_no_json_is_an_error(body: bytes) -> None:
    harness = harness_of_json()
    exchange = harness.request("POST", headers={"content-type": "application/json"}, body=body)
    assert exchange.stream.dynamic_metadata == {"ns": {"a": "error"}}
    assert harness.stats["json_to_metadata.rq.invalid_json_body"] == 1


def test_a_body_of_another_type_is_not_held() -> None:
    harness = harness_of_json()
    exchange = harness.request("POST", headers={"content-type": "text/plain"}, body=b"x" * (2 << 20))
    assert exchange.reached_upstream
    assert harness.request("POST", headers={"content-type": "application/json"}, body=b"x" * (2 << 20)).status == 413


def test_a_password_that_is_no_hash_is_refused() -> None:
    with pytest.raises(ConfigError, match="SHA"):
        FilterHarness(BasicAuth, {"users": {"inline_string": "u:plain"}})
