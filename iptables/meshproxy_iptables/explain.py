"""The plan in words, for people: each rule with its reason."""

from __future__ import annotations

from . import iptables_text, nft_text
from .rules import Plan

_TITLES = {
    "nat": "Redirection (table nat)",
    "mangle": "Marks and TPROXY (table mangle)",
    "raw": "Connection tracking of DNS (table raw)",
}


_FAIL_CLOSED = """\
  istio-tproxy: (the matches of each tproxy rule) counter drop
      installed beside the transaction: while no proxy listens, inbound traffic must not reach the application"""


def render(plan: Plan, native: bool) -> str:
    """Table by table, in the order of emission: what holds for which family, and why. Ends with a newline.

    native: show the rules in the words of nftables, not of iptables.
    """
    lines = []
    for table, title in _TITLES.items():
        rules = [rule for rule in plan.rules if rule.table == table]
        if not rules:
            continue
        lines += [title, ""]
        for rule in rules:
            family = f"IPv{rule.family}" if rule.family else "IPv4 and IPv6" if plan.ipv6 else "IPv4"
            place = "" if rule.insert_at is None else f", inserted at {rule.insert_at}"
            text = " ".join(iptables_text.rule_words(rule))
            chain = rule.chain
            if native:
                text, chain = nft_text.expression(rule), nft_text.chain_name(rule.chain)
            lines += [f"  {chain}: {text}", f"      {rule.why} ({family}{place})"]
        lines.append("")
    if plan.mark is not None:
        if native:
            lines += [_FAIL_CLOSED, ""]
        lines += [
            "Policy routing",
            "",
            f"  packets with mark {plan.mark} use routing table {plan.table}, which delivers everything on this host",
            "      TPROXY keeps the destination, so the packet has to be led to the local socket",
            "",
        ]
    if plan.ipv6:
        lines += ["Addresses", "", "  ::6/128 on lo", "      the source of inbound IPv6 connections to the application"]
    return "\n".join(lines).rstrip("\n") + "\n"
