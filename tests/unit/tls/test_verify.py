"""Which names are the wanted ones."""

from __future__ import annotations

import pytest

from meshproxy.matching import string_matcher
from meshproxy.model.tls import SanMatcher
from meshproxy.runtime.tls.facts import CertificateFacts, facts_of
from meshproxy.runtime.tls.verify import dns_name_matches, san_matches, server_name_matches, trust_domain_of
from tests.certificates import Authority, dns, email, ip, uri


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("a.test", "a.test", True),
        ("A.Test", "a.tEST", True),
        ("a.test", "b.test", False),
        ("x.a.test", "*.a.test", True),
        ("x.y.a.test", "*.a.test", False),
        ("a.test", "*.a.test", False),
        (".a.test", "*.a.test", False),
        ("x.a.test", "*", False),
        ("x.a.test", "x.*.test", False),
        ("x.a.test", "*.*.test", False),
        ("xa.test", "x*.test", False),
        ("test", "*.test", False),
        ("", "", True),
        ("x.a.test", "*.a.test.evil", False),
    ],
)
def test_a_wildcard_stands_for_one_whole_label(name: str, pattern: str, expected: bool) -> None:
    assert dns_name_matches(name, pattern) is expected


@pytest.fixture(scope="module")
def facts() -> CertificateFacts:
    names = (uri("spiffe://td/ns/x"), dns("*.a.test"), dns("b.test"), ip("10.0.0.1"), ip("2001:db8::1"), email("m@x"))
    return facts_of(Authority("root").issue("c", *names).der)


def matcher(kind: str, how: str, text: str) -> SanMatcher:
    return SanMatcher(kind, string_matcher(how, text), text if kind == "DNS" and how == "exact" else "")


@pytest.mark.parametrize(
    ("kind", "how", "text", "expected"),
    [
        ("URI", "exact", "spiffe://td/ns/x", True),
        ("URI", "prefix", "spiffe://td/", True),
        ("URI", "exact", "spiffe://td/ns", False),
        ("DNS", "exact", "c.a.test", True),
        ("DNS", "exact", "*.a.test", True),
        ("DNS", "suffix", ".test", True),
        ("DNS", "prefix", "spiffe", False),
        ("IP_ADDRESS", "exact", "10.0.0.1", True),
        ("IP_ADDRESS", "exact", "2001:db8::1", True),
        ("IP_ADDRESS", "exact", "b.test", False),
        ("EMAIL", "exact", "m@x", True),
        ("EMAIL", "exact", "b.test", False),
        ("URI", "safe_regex", "spiffe://[a-z]+/ns/.*", True),
        ("URI", "safe_regex", "spiffe://[a-z]+", False),
    ],
)
def test_a_matcher_sees_names_of_its_kind_only(
    facts: CertificateFacts, kind: str, how: str, text: str, expected: bool
) -> None:
    assert san_matches(matcher(kind, how, text), facts) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("b.test", True),
        ("x.a.test", True),
        ("10.0.0.1", True),
        ("2001:DB8:0::1", True),
        ("10.0.0.2", False),
        ("x", False),
    ],
)
def test_server_names(facts: CertificateFacts, name: str, expected: bool) -> None:
    assert server_name_matches(name, facts) is expected


@pytest.mark.parametrize(
    ("uris", "expected"),
    [
        (("spiffe://td/ns/x",), "td"),
        (("spiffe://td",), "td"),
        (("spiffe:///ns/x",), None),
        (("https://td/x",), None),
        ((), None),
        (("spiffe://td/a", "spiffe://other/b"), None),
    ],
)
def test_one_spiffe_id_names_the_trust_domain(uris: tuple[str, ...], expected: str | None) -> None:
    facts = facts_of(Authority("root").issue("c", *map(uri, uris)).der)
    assert trust_domain_of(facts) == expected
