"""Rules to one nftables transaction, exactly as `istio-iptables --native-nftables` writes it.

Three tables of our own in the `inet` family hold IPv4 and IPv6 together. `add table` and `flush table` make the
transaction repeatable; all of it takes effect at once, or nothing does. Only chains that have rules are created.
Matches come in the order that `_rank` gives; in the raw table the port stands first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .rules import (
    Accept,
    Address,
    ConnState,
    Drop,
    Interface,
    Jump,
    Mark,
    Match,
    Owner,
    Plan,
    Port,
    Proto,
    RedirectTo,
    RestoreMark,
    Return,
    Rule,
    SaveMark,
    SetMark,
    SetZone,
    Table,
    TproxyTo,
)

TABLES: dict[Table, str] = {"nat": "istio-proxy-nat", "mangle": "istio-proxy-mangle", "raw": "istio-proxy-raw"}

# `type route` on the output hook makes the kernel route a packet again whose mark has changed.
_BASE_CHAINS: dict[Table, dict[str, str]] = {
    "nat": {
        "prerouting": "type nat hook prerouting priority -100",
        "output": "type nat hook output priority -100",
    },
    "mangle": {
        "prerouting": "type filter hook prerouting priority -150",
        "output": "type route hook output priority -150",
    },
    "raw": {
        "prerouting": "type filter hook prerouting priority -300",
        "output": "type filter hook output priority -300",
    },
}
_CHAIN_ORDER: dict[Table, tuple[str, ...]] = {
    "nat": ("istio-inbound", "istio-redirect", "istio-in-redirect", "istio-output", "istio-output-dns"),
    "mangle": ("istio-divert", "istio-tproxy", "istio-inbound", "istio-drop"),
    "raw": ("istio-inbound", "istio-output-dns"),
}


_BARE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*\*?")
_KEYWORDS = frozenset(
    [
        "accept",
        "arp",
        "at",
        "bridge",
        "chain",
        "counter",
        "ct",
        "day",
        "drop",
        "ether",
        "exthdr",
        "fib",
        "flow",
        "hour",
        "icmp",
        "ip",
        "ip6",
        "ipsec",
        "jhash",
        "limit",
        "log",
        "map",
        "mark",
        "masquerade",
        "meta",
        "nat",
        "netdev",
        "oif",
        "iif",
        "or",
        "queue",
        "quota",
        "redirect",
        "reject",
        "return",
        "rt",
        "rule",
        "set",
        "snat",
        "dnat",
        "socket",
        "synproxy",
        "table",
        "tcp",
        "th",
        "time",
        "tproxy",
        "udp",
        "vlan",
        "xor",
        "and",
    ]
)


def render(plan: Plan) -> str:
    """The transaction; ends with a newline."""
    return "".join(f"{line}\n" for table in TABLES for line in _table(plan, table))


def render_installed(plan: Plan) -> str:
    """What is really installed: the transaction, and what it lacks beside iptables.

    Where no transparent socket listens, iptables' TPROXY drops the packet, and nftables' `tproxy` lets it pass by. A
    proxy that is down would leave the application open to everybody, past all policy. One more rule drops it.
    """
    drops = []
    for rule in plan.rules:
        if isinstance(rule.verdict, TproxyTo):
            words = " ".join(_match(match, rule) for match in sorted(rule.matches, key=lambda m: _rank(m, rule.table)))
            drops.append(f"add rule inet {TABLES[rule.table]} {chain_name(rule.chain)} {words} counter drop\n")
    return render(plan) + "".join(drops)


def render_cleanup() -> str:
    """A transaction that removes our tables, whether they exist or not."""
    return "".join(f"add table inet {name}\ndelete table inet {name}\n" for name in TABLES.values())


def chain_name(chain: str) -> str:
    """`ISTIO_IN_REDIRECT` is `istio-in-redirect` here."""
    return chain.lower().replace("_", "-")


def _table(plan: Plan, table: Table) -> Iterator[str]:
    rules = [rule for rule in plan.rules if rule.table == table]
    name = f"inet {TABLES[table]}"
    used = {chain_name(rule.chain) for rule in rules}
    if not used:
        # A table of an earlier run with other options must not stay.
        return
    yield f"add table {name}"
    yield f"flush table {name}"
    for chain, hook in _BASE_CHAINS[table].items():
        if chain in used:
            yield f"add chain {name} {chain} {{ {hook} ; }}"
    for chain in _CHAIN_ORDER[table]:
        if chain in used:
            yield f"add chain {name} {chain}"
    yield from _rules(name, rules)


def _rules(table: str, rules: list[Rule]) -> Iterator[str]:
    """An insertion names the rule to stand before; where that does not exist yet, appending is the same."""
    count: dict[str, int] = {}
    for rule in rules:
        chain = chain_name(rule.chain)
        held = count.get(chain, 0)
        count[chain] = held + 1
        if rule.insert_at is None or rule.insert_at > held:
            yield f"add rule {table} {chain} {expression(rule)}"
        else:
            yield f"insert rule {table} {chain} index {rule.insert_at - 1} {expression(rule)}"


def expression(rule: Rule) -> str:
    """The rule without its chain."""
    matches = sorted(rule.matches, key=lambda match: _rank(match, rule.table))
    words = [_match(match, rule) for match in matches]
    return " ".join([*words, _verdict(rule)])


def _rank(match: Match, table: Table) -> int:
    match match:
        case Interface():
            return 0
        case Proto():
            return 1
        case Address():
            return 3
        case ConnState():
            return 4
        case Port():
            return 2 if table == "raw" else 5
        case Mark():
            return 6
        case Owner():
            return 7


def _match(match: Match, rule: Rule) -> str:
    match match:
        case Interface(direction, name):
            return f"{'iifname' if direction == 'in' else 'oifname'} {_name(name)}"
        case Proto(name, _):
            return f"meta l4proto {name}"
        case Address(side, cidr, negate):
            return f"{_ip(rule)} {'saddr' if side == 'source' else 'daddr'} {_not(negate)}{cidr}"
        case ConnState(states):
            return f"ct state {','.join(states).lower()}"
        case Port(protocol, side, ports, negate, _):
            value = str(ports[0]) if len(ports) == 1 else f"{{ {', '.join(map(str, ports))} }}"
            return f"{protocol} {'sport' if side == 'source' else 'dport'} {_not(negate)}{value}"
        case Mark(value, negate, of_connection):
            return f"{'ct mark' if of_connection else 'mark'} {_not(negate)}{value}"
        case Owner(kind, id_, negate):
            return f"{'meta ' if rule.table == 'raw' else ''}sk{kind} {_not(negate)}{id_}"


def _name(name: str) -> str:
    """An interface: bare where nft reads it as a name, else quoted; a final `+` of iptables is `*` here."""
    name = f"{name[:-1]}*" if name.endswith("+") else name
    return name if _BARE.fullmatch(name) and name not in _KEYWORDS else f'"{name}"'


def _ip(rule: Rule) -> str:
    return "ip6" if rule.family == 6 else "ip"


def _not(negate: bool) -> str:
    return "!= " if negate else ""


def _verdict(rule: Rule) -> str:
    match rule.verdict:
        case Return():
            return "counter return"
        case Accept():
            return "counter accept"
        case Drop():
            return "counter drop"
        case Jump(chain):
            return f"counter jump {chain_name(chain)}"
        case RedirectTo(port, _):
            return f"counter redirect to :{port}"
        case TproxyTo(port, mark):
            return f"tproxy {_ip(rule)} to :{port} meta mark set {mark} counter accept"
        case SetMark(value):
            return f"counter meta mark set {value}"
        case SaveMark():
            return "counter ct mark set mark"
        case RestoreMark():
            return "counter meta mark set ct mark"
        case SetZone(zone):
            return f"counter ct zone set {zone}"
