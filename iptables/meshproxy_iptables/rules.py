"""The vocabulary of the plan: a rule says what it matches, what happens then, and why it exists.

Rules are values; they know nothing of iptables or nftables syntax. A renderer turns each match and each
verdict into the words of its tool. Two facts about the tools show through, on purpose:

- the matches of a rule stand in the order in which iptables-restore text lists them (its golden files are compared
  byte by byte); nftables has one order of its own, so that renderer sorts;
- nftables keeps IPv4 and IPv6 in one table, iptables in two. A rule with an address carries its `family`; a rule
  without stands for both (`family=None`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Table = Literal["nat", "mangle", "raw"]
Family = Literal[4, 6]
Protocol = Literal["tcp", "udp"]

PREROUTING = "PREROUTING"
OUTPUT = "OUTPUT"
BUILTIN_CHAINS = frozenset({PREROUTING, OUTPUT})

INBOUND = "ISTIO_INBOUND"
IN_REDIRECT = "ISTIO_IN_REDIRECT"
REDIRECT = "ISTIO_REDIRECT"
OUTBOUND = "ISTIO_OUTPUT"
OUTPUT_DNS = "ISTIO_OUTPUT_DNS"
DIVERT = "ISTIO_DIVERT"
TPROXY = "ISTIO_TPROXY"
DROP_CHAIN = "ISTIO_DROP"
OWN_CHAINS = frozenset({INBOUND, IN_REDIRECT, REDIRECT, OUTBOUND, OUTPUT_DNS, DIVERT, TPROXY, DROP_CHAIN})


@dataclass(frozen=True, slots=True)
class Interface:
    """The interface a packet came in by (`in`) or leaves by (`out`)."""

    direction: Literal["in", "out"]
    name: str


@dataclass(frozen=True, slots=True)
class Proto:
    """The transport protocol.

    nft_only: iptables does without it. Istio's two backends differ in one rule: iptables drops invalid packets of any
    protocol, nftables those of TCP.
    """

    name: Protocol
    nft_only: bool = False


@dataclass(frozen=True, slots=True)
class Port:
    """A port of `protocol`: any of `ports`, or none of them.

    implies_protocol: the match brings its protocol along; otherwise a `Proto` stands before it. To the kernel the
    two are one; the nftables text tells them apart (`tcp dport 53` and `meta l4proto tcp tcp dport 53`).
    """

    protocol: Protocol
    side: Literal["source", "destination"]
    ports: tuple[int, ...]
    negate: bool = False
    implies_protocol: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """A source or destination network, `cidr` as text in the family of its rule."""

    side: Literal["source", "destination"]
    cidr: str
    negate: bool = False


@dataclass(frozen=True, slots=True)
class Owner:
    """The uid or gid of the socket that sends; never matches a packet without a local socket."""

    kind: Literal["uid", "gid"]
    id: str
    negate: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """The packet's mark, or its connection's."""

    value: int
    negate: bool = False
    of_connection: bool = False


@dataclass(frozen=True, slots=True)
class ConnState:
    """Connection tracking states, in the upper case of iptables."""

    states: tuple[str, ...]


Match = Interface | Proto | Port | Address | Owner | Mark | ConnState


@dataclass(frozen=True, slots=True)
class Return:
    """Leave this chain."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Leave this table."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Drop the packet."""


@dataclass(frozen=True, slots=True)
class Jump:
    """Go on in another chain, and come back."""

    chain: str


@dataclass(frozen=True, slots=True)
class RedirectTo:
    """Rewrite the destination to this host and `port`; connection tracking remembers the original."""

    port: int
    protocol: Protocol = "tcp"


@dataclass(frozen=True, slots=True)
class TproxyTo:
    """Hand the packet, unchanged, to the transparent socket on `port`, and mark it for policy routing."""

    port: int
    mark: int


@dataclass(frozen=True, slots=True)
class SetMark:
    """Mark the packet."""

    value: int


@dataclass(frozen=True, slots=True)
class SaveMark:
    """Copy the packet's mark to its connection."""


@dataclass(frozen=True, slots=True)
class RestoreMark:
    """Copy the connection's mark to the packet."""


@dataclass(frozen=True, slots=True)
class SetZone:
    """Put the packet into a connection tracking zone."""

    zone: int


Verdict = Return | Accept | Drop | Jump | RedirectTo | TproxyTo | SetMark | SaveMark | RestoreMark | SetZone


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule with its reason.

    insert_at: the place counted from 1 at which the rule is inserted; None appends.
    family: 4, 6, or None for both.
    why: one sentence for whoever reads `--format explain`.
    """

    table: Table
    chain: str
    matches: tuple[Match, ...]
    verdict: Verdict
    why: str
    insert_at: int | None = None
    family: Family | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to install: rules in the order of emission, and what the options imply beside them.

    mark, table: policy routing for TPROXY (packets with `mark` use routing table `table`); None without TPROXY.
    """

    rules: tuple[Rule, ...]
    ipv6: bool
    mark: int | None = None
    table: int | None = None

    def of(self, family: Family) -> tuple[Rule, ...]:
        """The rules that hold for one address family, in order."""
        return tuple(rule for rule in self.rules if rule.family in (None, family))


def final_order(rules: tuple[Rule, ...]) -> dict[tuple[str, str], list[Rule]]:
    """(table, chain) to its rules as they stand once all rules are in: insertions have moved to their place.

    rules: of one family, in order of emission. Foreign rules are not known here, so an insertion at 1 comes first.
    """
    chains: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        chain = chains.setdefault((rule.table, rule.chain), [])
        chain.insert(len(chain) if rule.insert_at is None else rule.insert_at - 1, rule)
    return chains
