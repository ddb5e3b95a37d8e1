"""SPIFFE bundle maps, and what is none (both as Envoy 1.40 has it)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from meshproxy.runtime.tls.failures import MaterialError
from meshproxy.runtime.tls.spiffe_bundles import parse_bundle_map
from tests.certificates import folder

CERTS = folder()
DER = CERTS.issued["server"].der
ENCODED = base64.b64encode(DER).decode()
KEY = {"use": "x509-svid", "kty": "EC", "x5c": [ENCODED]}


def of(*keys: Any) -> str:
    return json.dumps({"trust_domains": {"a.test": {"spiffe_sequence": 1, "keys": list(keys)}}})


def test_domains_and_their_authorities() -> None:
    parsed = parse_bundle_map((CERTS.path / "bundles.json").read_bytes(), "x")
    assert {name: [each.common_name for each in found] for name, found in parsed.items()} == {
        "cluster.local": ["root"],
        "other.domain": ["other"],
    }


@pytest.mark.parametrize(
    "keys", [(KEY, KEY), ({**KEY, "x5c": [ENCODED, ENCODED]},), ({"use": KEY["use"], "x5c": KEY["x5c"]},)]
)
def test_several_certificates(keys: tuple[Any, ...]) -> None:
    assert {each.der for each in parse_bundle_map(of(*keys).encode(), "x")["a.test"]} == {DER}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("no json", "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON"),
        ("[]", "No trust domains"),
        ("{}", "No trust domains"),
        ('{"trust_domains": {}}', "No trust domains"),
        ('{"trust_domains": []}', "No trust domains"),
        ('{"trust_domains": {"a.test": {}}}', "No keys found in SPIFFE bundle for domain 'a.test'"),
        (of(), "No keys"),
        (of("x"), "'use'"),
        (of({**KEY, "use": "jwt-svid"}), "'use'"),
        (of({**KEY, "use": 1}), "'use'"),
        (of(KEY, {"kty": "EC"}), "'use'"),
        (of({"use": "x509-svid"}), "'x5c'"),
        (of({**KEY, "x5c": []}), "'x5c'"),
        (of({**KEY, "x5c": ["!!"]}), "Invalid x509"),
        (of({**KEY, "x5c": ["AAAA"]}), "Invalid x509"),
        (of({**KEY, "x5c": [1]}), "Invalid x509"),
        (of({**KEY, "x5c": [ENCODED[:20] + "\n" + ENCODED[20:]]}), "Invalid x509"),
    ],
)
def test_what_is_none(document: str, message: str) -> None:
    with pytest.raises(MaterialError, match=message):
        parse_bundle_map(document.encode(), "x")
