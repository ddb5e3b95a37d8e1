"""What the tools print, against the plan: nothing is found where nothing changed, and every change is found."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from meshproxy_iptables import nft_text, nftables, xtables_state
from meshproxy_iptables.canonical import iptables_key, iptables_words, nft_key
from meshproxy_iptables.iptables_text import restore_lines
from meshproxy_iptables.options import Options
from meshproxy_iptables.plan import build

PLAN = build(dataclasses.replace(Options(), inbound_all=True, outbound_all=True, inbound_ports_exclude=(15021,)))
GROUPS = {("gid", "java"): "202"}


def resolve(kind: str, name: str) -> str:
    return GROUPS.get((kind, name), name)


SAME_IPTABLES = [
    ("-o lo -s 127.0.0.6/32 -j RETURN", "-s 127.0.0.6/32 -o lo -j RETURN"),
    ("-p tcp --dport 80 -j X", "-p tcp -m tcp --dport 80 -j X"),
    ("-j MARK --set-mark 1337", "-j MARK --set-xmark 0x539/0xffffffff"),
    ("-j CONNMARK --save-mark", "-j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff"),
    ("-p udp --dport 53 -j REDIRECT --to-port 15053", "-p udp -m udp --dport 53 -j REDIRECT --to-ports 15053"),
    ("-m conntrack --ctstate RELATED,ESTABLISHED -j X", "-m conntrack --ctstate ESTABLISHED,RELATED -j X"),
    ("! -d 127.0.0.1/8 -j X", "! -d 127.0.0.0/8 -m comment --comment meshproxy -j X"),
    (
        "-p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006",
        "-p tcp -j TPROXY --on-port 15006 --on-ip 0.0.0.0 --tproxy-mark 0x539/0xffffffff",
    ),
    ("-m owner ! --gid-owner java -j RETURN", "-m owner ! --gid-owner 202 -j RETURN"),
    ("-d ::127.0.0.53/128 -j X", "-d ::7f00:35/128 -j X"),
]
DIFFERENT_IPTABLES = [
    ("-s 10.0.0.0/8 -j X", "-d 10.0.0.0/8 -j X"),
    ("-m mark --mark 1337 -j X", "-m connmark --mark 0x539 -j X"),
    ("-m owner --uid-owner 1 -j X", "-m owner ! --uid-owner 1 -j X"),
    ("-m owner --uid-owner 1 -j X", "-m owner --gid-owner 1 -j X"),
    ("-i lo -j X", "-o lo -j X"),
    ("-j X", "-j Y"),
    ("-p tcp -j X", "-p tcp -m somebody --knows what -j X"),
    ("-j MARK --set-mark 7", "-j MARK --set-xmark 0x7/0xff"),
]


@pytest.mark.parametrize(("given", "saved"), SAME_IPTABLES)
def test_the_same_iptables_rule(given: str, saved: str) -> None:
    assert iptables_key(iptables_words(given), resolve) == iptables_key(iptables_words(saved), resolve)


@pytest.mark.parametrize(("one", "other"), DIFFERENT_IPTABLES)
def test_different_iptables_rules(one: str, other: str) -> None:
    assert iptables_key(iptables_words(one), resolve) != iptables_key(iptables_words(other), resolve)


def test_a_quoted_comment_is_one_word() -> None:
    assert iptables_words('-m comment --comment "two words" -j X')[3] == "two words"


SAME_NFT = [
    (
        "oifname lo meta l4proto tcp ip daddr != 127.0.0.1/32 tcp dport != 15008 skuid 1337 counter jump x",
        'oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 counter packets 3 bytes 9 jump x',
    ),
    ("meta l4proto tcp counter redirect to :1", "meta l4proto tcp counter packets 0 bytes 0 redirect to :1"),
    ("counter meta mark set 1337", "counter packets 0 bytes 0 meta mark set 0x00000539"),
    (
        "meta l4proto tcp mark 1337 counter ct mark set mark",
        "meta l4proto tcp meta mark 0x00000539 counter ct mark set meta mark",
    ),
    ("ct state related,established counter drop", "ct state established,related counter drop"),
    ("tcp dport != { 53, 15008 } counter return", "tcp dport != { 15008, 53 } counter return"),
    ("skgid java counter return", "meta skgid 202 counter packets 1 bytes 1 return"),
    ("ip daddr 127.0.0.1/8 counter return", "ip daddr 127.0.0.0/8 counter return"),
]


@pytest.mark.parametrize(("given", "listed"), SAME_NFT)
def test_the_same_nft_rule(given: str, listed: str) -> None:
    assert nft_key(given, resolve) == nft_key(listed, resolve)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("skuid 1 counter return", "skgid 1 counter return"),
        ("skuid 1 counter return", "skuid != 1 counter return"),
        ("tcp dport 53 counter return", "udp dport 53 counter return"),
        ("ip daddr 10.0.0.1/32 counter return", "ip saddr 10.0.0.1/32 counter return"),
        ("mark 1 counter return", "ct mark 1 counter return"),
        ("counter return", "counter accept"),
    ],
)
def test_different_nft_rules(one: str, other: str) -> None:
    assert nft_key(one, resolve) != nft_key(other, resolve)


def saved_text(lines: list[str] | None = None) -> str:
    """iptables-save of our plan with somebody else's rules in between."""
    chosen = list(restore_lines(PLAN.of(4))) if lines is None else lines
    rules = [line.replace("-A OUTPUT -j", "-A OUTPUT -m comment --comment meshproxy -j") for line in chosen]
    chains = [line.replace("-N ", ":") + " - [0:0]" for line in rules if line.startswith("-N")]
    return "\n".join(
        ["# Generated", "*nat", ":PREROUTING ACCEPT [1:2]", ":OUTPUT ACCEPT [0:0]", ":OTHER - [0:0]", *chains,
         "-A OUTPUT -p tcp -m tcp --dport 9 -j OTHER", *[line for line in rules if line.startswith("-A")],
         "-A OUTPUT -j OTHER", "COMMIT", "# Completed"]
    )  # fmt: skip


def drift(text: str) -> list[str]:
    return xtables_state.drift(PLAN, 4, xtables_state.parse(text), resolve)


def test_what_was_installed_has_not_drifted() -> None:
    assert drift(saved_text()) == []
    assert xtables_state.parse(saved_text()).residue


def test_every_missing_extra_and_moved_rule_is_found() -> None:
    lines = list(restore_lines(PLAN.of(4)))
    rules = [index for index, line in enumerate(lines) if line.startswith("-A")]
    for index in rules:
        found = drift(saved_text(lines[:index] + lines[index + 1 :]))
        assert len(found) == 1, lines[index]
        assert "missing" in found[0]
        doubled = drift(saved_text([*lines[: index + 1], lines[index], *lines[index + 1 :]]))
        assert len(doubled) == 1
        assert "extra" in doubled[0]
    moved = 0
    for first, second in itertools.pairwise(rules):
        swapped = lines.copy()
        swapped[first], swapped[second] = lines[second], lines[first]
        if lines[first].split()[1] == lines[second].split()[1]:
            moved += 1
            assert drift(saved_text(swapped))[0].endswith("the order has changed")
    assert moved > 5


def test_chains_that_are_missing_or_not_planned() -> None:
    text = saved_text().replace(":ISTIO_REDIRECT - [0:0]\n", ":ISTIO_OLD - [0:0]\n")
    text = text.replace("-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n", "")
    assert "IPv4 nat: chain ISTIO_OLD is not planned" in drift(text)
    assert "IPv4 nat: chain ISTIO_REDIRECT is missing" in drift(text)


def test_the_repair_leaves_foreign_rules_alone_and_empties_ours() -> None:
    saved = xtables_state.parse(saved_text().replace("COMMIT", "-A OUTPUT -j ISTIO_OLD\nCOMMIT", 1))
    text = xtables_state.repair_text(PLAN, 4, saved, resolve)
    assert ":ISTIO_OUTPUT - [0:0]" in text
    assert "-D OUTPUT -j ISTIO_OLD" in text
    assert "-D OUTPUT -m comment --comment meshproxy -j ISTIO_OUTPUT" in text
    assert "OTHER" not in text
    removal = xtables_state.repair_text(None, 4, saved, resolve)
    assert "-A" not in removal
    assert "-X ISTIO_OUTPUT" in removal
    assert "OTHER" not in removal


def test_rules_without_a_jump_are_ours_by_their_comment() -> None:
    text = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i eth1 -j RETURN\n"
    text += "-A PREROUTING -i eth1 -m comment --comment meshproxy -j RETURN\nCOMMIT\n"
    removal = xtables_state.repair_text(None, 4, xtables_state.parse(text), resolve)
    assert removal == "*nat\n-D PREROUTING -i eth1 -m comment --comment meshproxy -j RETURN\nCOMMIT\n"


def test_the_guard_goes_on_once_and_off_whatever_was_left() -> None:
    guarded = xtables_state.parse(
        f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m comment --comment {xtables_state.GUARD} -j DROP\nCOMMIT"
    )
    on, off = xtables_state.guard_text(guarded, on=True), xtables_state.guard_text(guarded, on=False)
    assert (on.count("-D INPUT"), on.count("-I "), off.count("-D INPUT"), off.count("-I ")) == (1, 6, 1, 0)


def listing(text: str) -> str:
    """`nft list ruleset` of a transaction, in the tool's words as far as the rules go."""
    lines = []
    for table, chains in nftables.expected_tables(text).items():
        lines.append(f"table inet {table} {{")
        for chain, rules in chains.items():
            lines += [f"\tchain {chain} {{", "\t\ttype nat hook output priority -100; policy accept;"]
            lines += ["\t\t" + rule.replace("counter", "counter packets 5 bytes 6") for _, rule in rules] + ["\t}", ""]
        lines.append("}")
    return "\n".join(["table inet other {", "\tchain c {", "\t\tcounter drop", "\t}", "}", *lines])


def test_native_tables_are_read_back() -> None:
    text = nft_text.render_installed(PLAN)
    assert nftables.compare(nftables.expected_tables(text), nftables.listed_tables(listing(text))) == []


def test_native_drift_is_found() -> None:
    text = nft_text.render_installed(PLAN)
    expected = nftables.expected_tables(text)
    there = listing(text)
    rule = "\t\toifname lo skuid != 1337 counter packets 5 bytes 6 return\n"
    assert rule in there
    assert "missing: oifname lo skuid" in nftables.compare(expected, nftables.listed_tables(there.replace(rule, "")))[0]
    extra = there.replace(rule, rule + "\t\ttcp dport 1 counter return\n")
    assert "extra: tcp dport 1" in nftables.compare(expected, nftables.listed_tables(extra))[0]
    moved = there.replace(rule, "").replace("\t\tskuid 1337 counter", rule + "\t\tskuid 1337 counter")
    assert nftables.compare(expected, nftables.listed_tables(moved)) == []
    moved = there.replace(rule, "").replace("\t\toifname lo skgid != 1337", rule + "\t\toifname lo skgid != 1337")
    assert "the order" in nftables.compare(expected, nftables.listed_tables(moved))[0]
    assert nftables.compare(expected, {}) == ["table inet istio-proxy-nat is missing"]
    assert nftables.compare({}, nftables.listed_tables(there)) == ["table inet istio-proxy-nat is not planned"]
