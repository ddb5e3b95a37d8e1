"""Rules to the text that iptables-restore reads, exactly as istio-iptables writes it.

Tables come in the order of their names, headed `* nat`. Chains are created in the order of their first rule, then
those that are only jumped to. One text holds one address family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .rules import (
    BUILTIN_CHAINS,
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
    TproxyTo,
    Verdict,
)


def render(plan: Plan) -> str:
    """The IPv4 text, then the IPv6 text if IPv6 is on; ends with a newline."""
    lines = list(restore_lines(plan.of(4)))
    if plan.ipv6:
        lines += restore_lines(plan.of(6))
    return "\n".join(lines) + "\n"


def restore_lines(rules: Iterable[Rule]) -> Iterator[str]:
    """The text of one family, line by line."""
    by_table: dict[str, list[Rule]] = {}
    for rule in rules:
        by_table.setdefault(rule.table, []).append(rule)
    for table in sorted(by_table):
        yield f"* {table}"
        for chain in chains_of(by_table[table]):
            yield f"-N {chain}"
        for rule in by_table[table]:
            yield rule_line(rule)
        yield "COMMIT"


def chains_of(rules: Iterable[Rule]) -> list[str]:
    """The chains to create for the rules of one table, in Istio's order."""
    held = list(rules)
    names = [rule.chain for rule in held] + [rule.verdict.chain for rule in held if isinstance(rule.verdict, Jump)]
    return [name for name in dict.fromkeys(names) if name not in BUILTIN_CHAINS]


def rule_line(rule: Rule) -> str:
    """`-A CHAIN …` or `-I CHAIN 1 …`."""
    head = f"-A {rule.chain}" if rule.insert_at is None else f"-I {rule.chain} {rule.insert_at}"
    return " ".join([head, *rule_words(rule)])


def rule_words(rule: Rule) -> list[str]:
    """The rule without its chain: matches and target."""
    return [word for match in rule.matches for word in _match(match)] + ["-j", *_target(rule.verdict)]


def _match(match: Match) -> list[str]:
    match match:
        case Interface(direction, name):
            return ["-i" if direction == "in" else "-o", name]
        case Proto(name, nft_only):
            return [] if nft_only else ["-p", name]
        case Address(side, cidr, negate):
            return [*_not(negate), "-s" if side == "source" else "-d", cidr]
        case Owner(kind, id_, negate):
            return ["-m", "owner", *_not(negate), f"--{kind}-owner", id_]
        case Mark(value, negate, of_connection):
            return ["-m", "connmark" if of_connection else "mark", *_not(negate), "--mark", str(value)]
        case ConnState(states):
            return ["-m", "conntrack", "--ctstate", ",".join(states)]
        case Port():
            return _port(match)


def _port(match: Port) -> list[str]:
    words = ["-p", match.protocol] if match.implies_protocol else []
    flag = "--sport" if match.side == "source" else "--dport"
    if len(match.ports) > 1:
        return [*words, "-m", "multiport", *_not(match.negate), f"{flag}s", ",".join(map(str, match.ports))]
    return [*words, *_not(match.negate), flag, str(match.ports[0])]


def _not(negate: bool) -> list[str]:
    return ["!"] if negate else []


def _target(verdict: Verdict) -> list[str]:
    match verdict:
        case Return():
            return ["RETURN"]
        case Accept():
            return ["ACCEPT"]
        case Drop():
            return ["DROP"]
        case Jump(chain):
            return [chain]
        case RedirectTo(port, protocol):
            # Both spellings mean the same; Istio writes the singular for UDP.
            return ["REDIRECT", "--to-ports" if protocol == "tcp" else "--to-port", str(port)]
        case TproxyTo(port, mark):
            return ["TPROXY", "--tproxy-mark", f"{mark}/0xffffffff", "--on-port", str(port)]
        case SetMark(value):
            return ["MARK", "--set-mark", str(value)]
        case SaveMark():
            return ["CONNMARK", "--save-mark"]
        case RestoreMark():
            return ["CONNMARK", "--restore-mark"]
        case SetZone(zone):
            return ["CT", "--zone", str(zone)]
