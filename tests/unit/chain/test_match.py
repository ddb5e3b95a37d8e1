import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meshproxy.address import CidrRange
from meshproxy.chain.match import FilterChainMatcher
from meshproxy.model.filter_chain import FilterChainMatch, SourceType

TABLE = json.loads(Path(__file__).with_name("filter_chains.json").read_text())


@dataclass(frozen=True)
class Facts:
    local: tuple[str, int] = ("192.0.2.1", 80)
    remote: tuple[str, int] = ("192.0.2.9", 99)
    direct_remote: tuple[str, int] = ("127.0.0.1", 40000)
    server_name: str = ""
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()


def _match(fields: dict[str, Any]) -> FilterChainMatch:
    values: dict[str, Any] = {}
    for name, value in fields.items():
        if name.endswith("prefix_ranges"):
            value = tuple(CidrRange.parse(item["address_prefix"], item["prefix_len"]) for item in value)
        elif name == "source_type":
            value = SourceType[str(value)]
        elif isinstance(value, list):
            value = tuple(value)
        values[name] = value
    return FilterChainMatch(**values)


MATCHERS = {
    name: FilterChainMatcher.build([(_match(fields), f"chain{i}") for i, fields in enumerate(chains)], "default")
    for name, chains in TABLE["sets"].items()
}


@pytest.mark.parametrize("name", TABLE["sets"])
def test_the_chain_is_the_one_envoy_takes(name: str) -> None:
    rows = [row for row in TABLE["rows"] if row[0] == name]
    assert len(rows) >= 2
    wrong = []
    for _, source, source_port, destination, port, transport, server_name, alpn, expected in rows:
        facts = Facts(
            (destination, port),
            (source, source_port),
            transport_protocol=transport,
            server_name=server_name.lower(),
            application_protocols=tuple(alpn),
        )
        if (got := MATCHERS[name].find(facts)) != expected:
            wrong.append((facts, expected, got))
    assert wrong == []


def test_without_a_match_the_default_or_none() -> None:
    chains = [(FilterChainMatch(destination_port=1), "a")]
    assert FilterChainMatcher.build(chains).find(Facts()) is None
    assert FilterChainMatcher.build(chains, "d").find(Facts()) == "d"
    assert FilterChainMatcher.build([], "d").find(Facts()) == "d"


def test_a_unix_socket_is_local_and_in_the_whole_range_only() -> None:
    ten, everything = CidrRange.parse("10.0.0.0/8"), CidrRange.parse("0.0.0.0/0")
    unix = Facts(("/run/x", 0), ("", 0), ("", 0))
    matcher = FilterChainMatcher.build(
        [(FilterChainMatch(prefix_ranges=(ten,)), "ten"), (FilterChainMatch(prefix_ranges=(everything,)), "all")]
    )
    assert matcher.find(unix) == "all"
    local = FilterChainMatch(source_type=SourceType.SAME_IP_OR_LOOPBACK)
    assert FilterChainMatcher.build([(local, "local")]).find(unix) == "local"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (FilterChainMatch(), FilterChainMatch()),
        (FilterChainMatch(server_names=("a", "b")), FilterChainMatch(server_names=("c", "B"))),
        (
            FilterChainMatch(prefix_ranges=(CidrRange.parse("10.0.0.1/8"),), source_ports=(1, 2)),
            FilterChainMatch(prefix_ranges=(CidrRange.parse("10.0.0.2/8"),), source_ports=(2,)),
        ),
    ],
)
def test_equal_matches_are_refused(first: FilterChainMatch, second: FilterChainMatch) -> None:
    with pytest.raises(ValueError, match="filter chains 0 and 1 have the same match"):
        FilterChainMatcher.build([(first, 1), (second, 2)])


@pytest.mark.parametrize("name", ["*", "a.*.b", "*a.b", "a.*"])
def test_other_wildcards_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="wildcard"):
        FilterChainMatcher.build([(FilterChainMatch(server_names=(name,)), 1)])


@pytest.mark.parametrize("name", [".", "..", "a.", ".a", "a..b.t", "." * 300])
def test_odd_server_names_end_somewhere(name: str) -> None:
    assert MATCHERS["sni"].find(Facts(server_name=name)) in ("chain1", "chain2", "default")
