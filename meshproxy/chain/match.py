"""Which filter chain takes a connection: Envoy's `FilterChainMatch` (its documentation gives the order of the stages).

The stages are asked one after the other: destination port, destination address, server name, transport protocol,
application protocols, direct source address, source type, source address, source port. Each picks the most specific
criterion that the connection meets, and there is no way back: when a later stage then finds nothing, the connection
goes to the default chain, also where a less specific criterion of an earlier stage would have led to a chain.

The chains are sorted once into a tree with a level per stage. A stage of which no chain asks anything makes no level,
so a listener with one chain costs one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from meshproxy.address import CidrRange, CidrTable, is_ip
from meshproxy.model.filter_chain import ConnectionFacts, FilterChainMatch, SourceType

T = TypeVar("T")
K = TypeVar("K")

# The levels only hand chains through, so nothing below depends on what a chain is.
_Finder = Callable[[ConnectionFacts], Any]
_Entry = tuple[int, FilterChainMatch, Any]
_Level = Callable[[list[_Entry], int], _Finder]

# What a Unix socket has for an address: only the range of all addresses holds it, as in Envoy.
_NO_IP = "255.255.255.255"
_WHOLE_RANGES = (CidrRange.parse("0.0.0.0/0"), CidrRange.parse("::/0"))


class FilterChainMatcher(Generic[T]):
    """Finds the chain of a connection. `T` is whatever stands for a chain."""

    __slots__ = ("_default", "_find")

    def __init__(self, find: _Finder, default: T | None) -> None:
        self._find = find
        self._default = default

    @classmethod
    def build(cls, chains: Sequence[tuple[FilterChainMatch, T]], default: T | None = None) -> FilterChainMatcher[T]:
        """Sort the chains. Raises ValueError when two match the same, or a server name has a wildcard elsewhere."""
        entries = [(index, match, chain) for index, (match, chain) in enumerate(chains)]
        if not entries:
            return cls(lambda facts: None, default)
        return cls(_build_level(entries, 0), default)

    def find(self, facts: ConnectionFacts) -> T | None:
        """The chain for a connection, the default if none matches; None when there is no default either."""
        chain: T | None = self._find(facts)
        return self._default if chain is None else chain


def _build_level(entries: list[_Entry], level: int) -> _Finder:
    if level < len(_LEVELS):
        return _LEVELS[level](entries, level)
    if len(entries) > 1:
        numbers = " and ".join(str(index) for index, _, _ in entries)
        raise ValueError(f"filter chains {numbers} have the same match")
    chain = entries[0][2]
    return lambda facts: chain


def _group(
    entries: list[_Entry], level: int, keys_of: Callable[[FilterChainMatch], Sequence[K]], any_key: K
) -> dict[K, _Finder]:
    """The finders below a level, by its keys; a chain without a criterion there stands under `any_key`."""
    groups: dict[K, list[_Entry]] = {}
    for entry in entries:
        for key in dict.fromkeys(keys_of(entry[1])) or (any_key,):
            groups.setdefault(key, []).append(entry)
    return {key: _build_level(group, level + 1) for key, group in groups.items()}


def _by_destination_port(entries: list[_Entry], level: int) -> _Finder:
    below = _group(entries, level, lambda match: () if not match.destination_port else (match.destination_port,), 0)
    otherwise = below.get(0, _nothing)
    if below.keys() == {0}:
        return otherwise
    return lambda facts: below.get(facts.local[1], otherwise)(facts)


def _by_address(
    ranges_of: Callable[[FilterChainMatch], tuple[CidrRange, ...]], ip_of: Callable[[ConnectionFacts], str]
) -> _Level:
    def build(entries: list[_Entry], level: int) -> _Finder:
        if not any(ranges_of(match) for _, match, _ in entries):
            return _build_level(entries, level + 1)
        below = _group(entries, level, lambda match: ranges_of(match) or _WHOLE_RANGES, _WHOLE_RANGES[0])
        table = CidrTable(below.items())

        def find(facts: ConnectionFacts) -> Any:
            ip = ip_of(facts)
            finder = table.find(ip if is_ip(ip) else _NO_IP)
            return None if finder is None else finder(facts)

        return find

    return build


def _by_server_name(entries: list[_Entry], level: int) -> _Finder:
    below = _group(entries, level, _server_name_keys, "")
    otherwise = below.get("", _nothing)
    if below.keys() == {""}:
        return otherwise

    def find(facts: ConnectionFacts) -> Any:
        name = facts.server_name
        finder = below.get(name)
        if finder is not None:
            return finder(facts)
        # The longest suffix first; "*.com" doesn't hold for ".com" itself, nor for a name that ends in a dot.
        dot = name.find(".", 1)
        while 0 < dot < len(name) - 1:
            finder = below.get(name[dot:])
            if finder is not None:
                return finder(facts)
            dot = name.find(".", dot + 1)
        return otherwise(facts)

    return find


def _server_name_keys(match: FilterChainMatch) -> list[str]:
    keys = []
    for name in match.server_names:
        key = (name[1:] if name.startswith("*.") else name).lower()
        if "*" in key:
            raise ValueError(f"server name {name!r}: a wildcard stands for whole labels at the beginning: '*.'")
        keys.append(key)
    return keys


def _by_transport_protocol(entries: list[_Entry], level: int) -> _Finder:
    below = _group(entries, level, lambda match: (match.transport_protocol,) if match.transport_protocol else (), "")
    otherwise = below.get("", _nothing)
    if below.keys() == {""}:
        return otherwise
    return lambda facts: below.get(facts.transport_protocol or "raw_buffer", otherwise)(facts)


def _by_application_protocols(entries: list[_Entry], level: int) -> _Finder:
    below = _group(entries, level, lambda match: match.application_protocols, "")
    otherwise = below.get("", _nothing)
    if below.keys() == {""}:
        return otherwise

    def find(facts: ConnectionFacts) -> Any:
        for protocol in facts.application_protocols:
            if protocol in below:
                return below[protocol](facts)
        return otherwise(facts)

    return find


def _by_source_type(entries: list[_Entry], level: int) -> _Finder:
    below = _group(entries, level, lambda match: (match.source_type,), SourceType.ANY)
    otherwise = below.get(SourceType.ANY, _nothing)
    if below.keys() == {SourceType.ANY}:
        return otherwise
    local = below.get(SourceType.SAME_IP_OR_LOOPBACK, otherwise)
    external = below.get(SourceType.EXTERNAL, otherwise)

    def find(facts: ConnectionFacts) -> Any:
        ip = facts.remote[0]
        # Canonical loopback only, as in Envoy; what has no ip is a Unix socket, and that is local.
        if ip == facts.local[0] or ip in ("127.0.0.1", "::1") or not is_ip(ip):
            return local(facts)
        return external(facts)

    return find


def _by_source_port(entries: list[_Entry], level: int) -> _Finder:
    below = _group(entries, level, lambda match: match.source_ports, 0)
    otherwise = below.get(0, _nothing)
    if below.keys() == {0}:
        return otherwise
    return lambda facts: below.get(facts.remote[1], otherwise)(facts)


def _nothing(facts: ConnectionFacts) -> None:
    return None


# The order of the stages is Envoy's.
_LEVELS: tuple[_Level, ...] = (
    _by_destination_port,
    _by_address(lambda match: match.prefix_ranges, lambda facts: facts.local[0]),
    _by_server_name,
    _by_transport_protocol,
    _by_application_protocols,
    _by_address(lambda match: match.direct_source_prefix_ranges, lambda facts: facts.direct_remote[0]),
    _by_source_type,
    _by_address(lambda match: match.source_prefix_ranges, lambda facts: facts.remote[0]),
    _by_source_port,
)
