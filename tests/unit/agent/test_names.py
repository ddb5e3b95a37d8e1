"""Names of the mesh: the table, and the bytes of DNS."""

from __future__ import annotations

import random
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshproxy.agent.names.dns_answer import TTL, answer, refuse
from meshproxy.agent.names.name_table import Addresses, NameTable

ENTRIES: dict[str, dict[str, Any]] = {
    "reviews.shop.svc.cluster.local": {
        "ips": ["10.0.0.7", "10.0.0.8", "fd00::7"],
        "registry": "Kubernetes",
        "shortname": "reviews",
        "namespace": "shop",
    },
    "db.data.svc.cluster.local": {
        "ips": ["10.0.0.9"],
        "registry": "Kubernetes",
        "shortname": "db",
        "namespace": "data",
    },
    "Outside.Example": {"ips": ["192.0.2.1"], "registry": "External", "shortname": "outside", "namespace": "shop"},
    "*.wild.test": {"ips": ["192.0.2.2"]},
    "*.deep.wild.test": {"ips": ["192.0.2.3"]},
}
SEARCH = ("shop.svc.cluster.local", "svc.cluster.local")
TABLE = NameTable(ENTRIES, namespace="shop", domain="shop.svc.cluster.local", search=SEARCH)


@pytest.mark.parametrize(
    ("name", "v4"),
    [
        ("reviews.shop.svc.cluster.local", ("10.0.0.7", "10.0.0.8")),
        ("REVIEWS.shop.svc.cluster.local.", ("10.0.0.7", "10.0.0.8")),
        ("reviews", ("10.0.0.7", "10.0.0.8")),
        ("reviews.shop", ("10.0.0.7", "10.0.0.8")),
        ("reviews.shop.svc", ("10.0.0.7", "10.0.0.8")),
        ("db.data", ("10.0.0.9",)),
        ("outside.example", ("192.0.2.1",)),
        ("a.wild.test", ("192.0.2.2",)),
        ("b.a.wild.test", ("192.0.2.2",)),
        ("a.deep.wild.test", ("192.0.2.3",)),
    ],
)
def test_names_that_are_known(name: str, v4: tuple[str, ...]) -> None:
    found = TABLE.find(name)
    assert found is not None
    assert found.v4 == v4


@pytest.mark.parametrize("name", ["db", "outside", "wild.test", "example", "", ".", "reviews.other"])
def test_names_that_are_somebody_elses(name: str) -> None:
    assert TABLE.find(name) is None


def test_a_name_found_by_way_of_a_search_domain_is_an_alias() -> None:
    assert TABLE.find("outside.example.svc.cluster.local") == Addresses(("192.0.2.1",), (), "outside.example")


@pytest.mark.parametrize("ips", [["10.0.0"], ["x"], 5])
def test_what_is_no_address_is_refused(ips: object) -> None:
    with pytest.raises(ValueError, match="name table"):
        NameTable({"a.b": {"ips": ips}})


def ask(name: str, kind: str = "A", *, tcp: bool = False, table: NameTable = TABLE) -> dns.message.Message | None:
    query = dns.message.make_query(name, kind)
    found = answer(query.to_wire(), table, random.Random(1), tcp=tcp)
    if found is None:
        return None
    response = dns.message.from_wire(found)
    assert response.id == query.id
    assert response.question == query.question
    return response


def test_addresses_of_the_family_that_was_asked_for() -> None:
    response = ask("reviews")
    assert response is not None
    assert {str(item) for item in response.answer[0]} == {"10.0.0.7", "10.0.0.8"}
    assert response.answer[0].ttl == TTL
    assert response.flags & dns.flags.AA
    six = ask("reviews", "AAAA")
    assert six is not None
    assert [str(item) for item in six.answer[0]] == ["fd00::7"]


def test_a_known_name_without_that_family_is_empty_and_not_unknown() -> None:
    response = ask("db.data", "AAAA")
    assert response is not None
    assert response.answer == []
    assert response.rcode() == dns.rcode.NOERROR


def test_an_alias_is_answered_with_cname_and_address() -> None:
    response = ask("outside.example.svc.cluster.local")
    assert response is not None
    assert [rrset.rdtype for rrset in response.answer] == [dns.rdatatype.CNAME, dns.rdatatype.A]
    assert response.answer[0][0].to_text() == response.answer[1].name.to_text() == "outside.example."


@pytest.mark.parametrize(("name", "kind"), [("unknown.test", "A"), ("reviews", "SRV"), ("reviews", "TXT")])
def test_the_rest_is_passed_on(name: str, kind: str) -> None:
    assert ask(name, kind) is None


def test_a_large_answer_is_cut_over_udp_and_whole_over_tcp() -> None:
    many = NameTable({"many.test": {"ips": [f"10.1.{i // 250}.{i % 250 + 1}" for i in range(600)]}})
    cut = ask("many.test", table=many)
    assert cut is not None
    assert cut.flags & dns.flags.TC
    whole = ask("many.test", table=many, tcp=True)
    assert whole is not None
    assert len(whole.answer[0]) == 600


@given(st.binary(max_size=600))
def test_any_bytes_are_answered_passed_on_or_refused_as_no_query(data: bytes) -> None:
    try:
        found = answer(data, TABLE, random.Random(1), tcp=False)
    except ValueError:
        found = None
    assert found is None or found[:2] == data[:2]
    refusal = refuse(data)
    assert refusal is None or refusal[:2] == data[:2]


def test_a_response_is_no_query() -> None:
    response = dns.message.make_response(dns.message.make_query("reviews", "A")).to_wire()
    with pytest.raises(ValueError, match="no DNS query"):
        answer(response, TABLE, random.Random(1), tcp=False)
