"""A small packet filter for the tests: reads the texts that we print, and says what they do to a packet.

It knows nothing of the plan. Both texts, iptables-restore and nftables, become the same chains of (predicates, action),
so that a test can also ask whether the two agree.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection. `interface` is where it leaves (`local`) or came in."""

    family: int = 4
    local: bool = True
    interface: str = "eth0"
    source: str = "10.0.0.2"
    destination: str = "10.0.0.3"
    protocol: str = "tcp"
    sport: int = 40000
    dport: int = 80
    uid: str = "1000"
    gid: str = "1000"
    mark: int = 0
    connmark: int = 0
    state: str = "new"


Predicate = Callable[[Packet], bool]
Action = tuple[str, str]
Chains = dict[tuple[str, str], list[tuple[list[Predicate], Action]]]
_TABLES = ("raw", "mangle", "nat")


def judge(chains: Chains, packet: Packet) -> tuple[str, int]:
    """("redirect" | "tproxy" | "drop" | "pass", port), through the tables in the kernel's order."""
    hook = "OUTPUT" if packet.local else "PREROUTING"
    for table in _TABLES:
        packet, outcome = _walk(chains, table, hook, packet)
        if outcome and outcome[0] in ("redirect", "tproxy", "drop"):
            return outcome[0], int(outcome[1] or 0)
    return "pass", 0


def _walk(chains: Chains, table: str, chain: str, packet: Packet) -> tuple[Packet, Action | None]:
    for predicates, (verb, value) in chains.get((table, chain), []):
        if not all(predicate(packet) for predicate in predicates):
            continue
        if verb == "return":
            return packet, None
        if verb == "mark":
            packet = replace(packet, mark=int(value))
        elif verb == "restore":
            packet = replace(packet, mark=packet.connmark)
        elif verb == "jump":
            packet, outcome = _walk(chains, table, value, packet)
            if outcome:
                return packet, outcome
        elif verb not in ("save", "zone"):
            return packet, (verb, value)
    return packet, None


def from_iptables(text: str) -> dict[int, Chains]:
    """iptables-restore text: the IPv4 half, and the IPv6 half if tables begin again."""
    halves: dict[int, Chains] = {4: {}, 6: {}}
    family, table, seen = 4, "", ""
    for line in text.splitlines():
        words = line.split()
        if words[0] == "*":
            if words[1] <= seen:
                family = 6
            table = seen = words[1]
        elif words[0] == "-A":
            halves[family].setdefault((table, words[1]), []).append(_iptables_rule(words[2:]))
        elif words[0] == "-I":
            halves[family].setdefault((table, words[1]), []).insert(int(words[2]) - 1, _iptables_rule(words[3:]))
    return halves


def _iptables_rule(words: list[str]) -> tuple[list[Predicate], Action]:
    predicates: list[Predicate] = []
    position, negate, module = 0, False, ""
    while words[position] != "-j":
        word = words[position]
        if word == "!":
            negate = True
            position += 1
            continue
        value = words[position + 1]
        position += 2
        if word == "-m":
            module = value
            continue
        predicates.append(_negated(_iptables_match(word, value, module), negate))
        negate = False
    return predicates, _iptables_action(words[position + 1 :])


def _iptables_match(word: str, value: str, module: str) -> Predicate:
    match word:
        case "-i":
            return lambda packet: not packet.local and packet.interface == value
        case "-o":
            return lambda packet: packet.local and packet.interface == value
        case "-p":
            return lambda packet: packet.protocol == value
        case "-s":
            return lambda packet: _within(packet.source, value)
        case "-d":
            return lambda packet: _within(packet.destination, value)
        case "--dport" | "--dports":
            return lambda packet: str(packet.dport) in value.split(",")
        case "--sport":
            return lambda packet: str(packet.sport) == value
        case "--uid-owner":
            return lambda packet: packet.local and packet.uid == value
        case "--gid-owner":
            return lambda packet: packet.local and packet.gid == value
        case "--mark" if module == "connmark":
            return lambda packet: packet.connmark == int(value)
        case "--mark":
            return lambda packet: packet.mark == int(value)
        case "--ctstate":
            return lambda packet: packet.state.upper() in value.split(",")
    raise AssertionError(f"unknown match {word}")


def _iptables_action(words: list[str]) -> Action:
    match words:
        case ["RETURN" | "ACCEPT" | "DROP"]:
            return words[0].lower(), ""
        case ["REDIRECT", _, port]:
            return "redirect", port
        case ["TPROXY", "--tproxy-mark", _, "--on-port", port]:
            return "tproxy", port
        case ["MARK", "--set-mark", mark]:
            return "mark", mark
        case ["CONNMARK", "--save-mark"]:
            return "save", ""
        case ["CONNMARK", "--restore-mark"]:
            return "restore", ""
        case ["CT", "--zone", zone]:
            return "zone", zone
        case [chain]:
            return "jump", chain
    raise AssertionError(f"unknown target {words}")


def from_nft(text: str) -> Chains:
    """An nftables transaction; one set of chains for both families."""
    chains: Chains = {}
    for line in text.splitlines():
        verb, kind, *words = line.split()
        if kind != "rule":
            continue
        table, chain = words[1].removeprefix("istio-proxy-"), words[2].upper().replace("-", "_")
        rules = chains.setdefault((table, chain), [])
        if verb == "insert":
            assert int(words[4]) < len(rules), "the kernel refuses to insert before a rule that is not there"
            rules.insert(int(words[4]), _nft_rule(words[5:]))
        else:
            rules.append(_nft_rule(words[3:]))
    return chains


def _nft_rule(words: list[str]) -> tuple[list[Predicate], Action]:
    predicates: list[Predicate] = []
    rest = iter(words)
    for word in rest:
        if word in ("counter", "tproxy"):
            return predicates, _nft_action([word, *rest])
        if word == "meta":
            word = next(rest)
        second = next(rest) if word in ("ip", "ip6", "tcp", "udp", "ct") else ""
        value = next(rest)
        negate = value == "!="
        if negate:
            value = next(rest)
        if value == "{":
            value = "".join(_until_brace(rest))
        predicates += _nft_match(word, second, value, negate)
    raise AssertionError(f"no verdict in {words}")


def _until_brace(rest: Iterator[str]) -> Iterator[str]:
    for word in rest:
        if word == "}":
            return
        yield word


def _nft_match(word: str, second: str, value: str, negate: bool) -> list[Predicate]:
    """A match on a field that a packet does not have (an IPv4 address in IPv6) fails, negated or not."""
    if word in ("ip", "ip6"):
        family = 4 if word == "ip" else 6
        side = "source" if second == "saddr" else "destination"
        inside = _negated(lambda packet: _within(getattr(packet, side), value), negate)
        return [lambda packet: packet.family == family, inside]
    if word in ("tcp", "udp"):
        port: Predicate = lambda packet: str(getattr(packet, second)) in value.split(",")  # noqa: E731  # typed, for `_negated`
        return [lambda packet: packet.protocol == word, _negated(port, negate)]
    found: dict[str, Predicate] = {
        "iifname": lambda packet: not packet.local and packet.interface == value,
        "oifname": lambda packet: packet.local and packet.interface == value,
        "l4proto": lambda packet: packet.protocol == value,
        "skuid": lambda packet: packet.uid == value,
        "skgid": lambda packet: packet.gid == value,
        "mark": lambda packet: packet.mark == int(value),
        "ct state": lambda packet: packet.state in value.split(","),
        "ct mark": lambda packet: packet.connmark == int(value),
    }
    match = _negated(found[f"{word} {second}".strip()], negate)
    return [lambda packet: packet.local, match] if word in ("skuid", "skgid") else [match]


def _nft_action(words: list[str]) -> Action:
    match words:
        case ["counter", "return" | "accept" | "drop" as verb]:
            return verb, ""
        case ["counter", "jump", chain]:
            return "jump", chain.upper().replace("-", "_")
        case ["counter", "redirect", "to", port]:
            return "redirect", port[1:]
        case ["tproxy", _, "to", port, *_]:
            return "tproxy", port[1:]
        case ["counter", "meta", "mark", "set", "ct", "mark"]:
            return "restore", ""
        case ["counter", "meta", "mark", "set", mark]:
            return "mark", mark
        case ["counter", "ct", "mark", "set", "mark"]:
            return "save", ""
        case ["counter", "ct", "zone", "set", zone]:
            return "zone", zone
    raise AssertionError(f"unknown verdict {words}")


def _negated(predicate: Predicate, negate: bool) -> Predicate:
    return (lambda packet: not predicate(packet)) if negate else predicate


def _within(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr, strict=False)
