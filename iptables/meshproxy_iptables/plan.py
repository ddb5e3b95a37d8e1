"""Options to rules: which rules there are, in which order, and why. Pure: nothing is read and nothing is installed.

The order is Istio's (`tools/istio-iptables/pkg/capture/run.go`), byte for byte, because every place in it was paid
for by somebody's outage. What must hold, and is tested as a property over all options:

- the proxy's own packets never come back to the proxy, except on purpose, through the hairpin: a call of the
  application to its own service address leaves the outbound listener for the pod's own address, and has to pass the
  inbound listener like anybody else's;
- what is excluded (ports, networks, interfaces, groups) is not captured;
- DNS stands behind the exemption of the proxy, whose own queries must get out, and before the exemption of
  localhost, where many resolvers listen.

`outbound` is the chain that decides for local processes, `inbound` the one for packets that arrive; TPROXY and DNS
have their own modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from . import plan_dns, plan_tproxy
from .options import Options
from .rules import (
    DROP_CHAIN,
    IN_REDIRECT,
    INBOUND,
    OUTBOUND,
    OUTPUT,
    PREROUTING,
    REDIRECT,
    Address,
    ConnState,
    Drop,
    Family,
    Interface,
    Jump,
    Match,
    Owner,
    Plan,
    Port,
    Proto,
    RedirectTo,
    Return,
    Rule,
    Table,
    Verdict,
)

MAGIC_SOURCE_V4 = "127.0.0.6/32"
MAGIC_SOURCE_V6 = "::6/128"
LOOPBACK_V6 = "::1/128"
LO = Interface("out", "lo")
TCP = Proto("tcp")


def build(options: Options) -> Plan:
    """The plan for these options."""
    return Plan(
        rules=tuple(rule for rule in _rules(_normalised(options)) if rule.family != 6 or options.ipv6),
        ipv6=options.ipv6,
        mark=options.tproxy_mark if options.tproxy else None,
        table=options.tproxy_table if options.tproxy else None,
    )


def _normalised(options: Options) -> Options:
    """Without what can have no effect: resolvers of a family that is off, and DNS capture without any resolver."""
    servers_v6 = options.dns_servers_v6 if options.ipv6 else ()
    on = options.dns and (options.dns_all or bool(options.dns_servers_v4 or servers_v6))
    return replace(options, dns=on, dns_all=on and options.dns_all, dns_servers_v6=servers_v6)


def _rules(options: Options) -> Iterator[Rule]:
    yield from _interfaces(options)
    if options.drop_invalid:
        yield from _drop_invalid()
    yield from _targets(options)
    yield from _inbound(options)
    yield Rule("nat", OUTPUT, (), Jump(OUTBOUND), "every packet a local process sends is judged, UDP too for DNS")
    yield from _outbound(options)
    if options.tproxy:
        yield from plan_tproxy.marks(options)


def _nat(chain: str, matches: tuple[Match, ...], verdict: Verdict, why: str, family: Family | None = None) -> Rule:
    return Rule("nat", chain, matches, verdict, why, family=family)


def _interfaces(options: Options) -> Iterator[Rule]:
    tables: tuple[Table, ...] = ("nat", "mangle") if options.tproxy else ("nat",)
    for table in tables:
        for name in options.exclude_interfaces:
            why = f"interface {name} is excluded: a secondary network stays as it is"
            yield Rule(table, PREROUTING, (Interface("in", name),), Return(), why)
            yield Rule(table, OUTPUT, (Interface("out", name),), Return(), why)
    for name in options.virtual_interfaces:
        why = f"what a virtual machine sends through {name} is no inbound traffic of the pod"
        yield Rule("nat", PREROUTING, (Interface("in", name),), Return(), why, insert_at=1)


def _drop_invalid() -> Iterator[Rule]:
    why = "a packet outside its window is not translated back, and the kernel would answer it with a reset"
    invalid = (Proto("tcp", nft_only=True), ConnState(("INVALID",)))
    yield Rule("mangle", PREROUTING, invalid, Jump(DROP_CHAIN), why)
    yield Rule("mangle", DROP_CHAIN, (), Drop(), why)


def _targets(options: Options) -> Iterator[Rule]:
    tunnel = Port("tcp", "destination", (options.inbound_tunnel_port,))
    yield _nat(INBOUND, (TCP, tunnel), Return(), "the proxy terminates HBONE tunnels on this port itself")
    yield _nat(
        REDIRECT, (TCP,), RedirectTo(options.proxy_port), f"outbound TCP goes to the proxy on {options.proxy_port}"
    )
    port = options.inbound_capture_port
    yield _nat(IN_REDIRECT, (TCP,), RedirectTo(port), f"inbound TCP goes to the proxy on {port}")


def _inbound(options: Options) -> Iterator[Rule]:
    if not options.inbound_all and not options.inbound_ports:
        return
    if options.tproxy:
        yield from plan_tproxy.inbound(options)
        return
    yield _nat(PREROUTING, (TCP,), Jump(INBOUND), "TCP that arrives for the pod is judged")
    if not options.inbound_all:
        for port in options.inbound_ports:
            matches = (TCP, Port("tcp", "destination", (port,)))
            yield _nat(INBOUND, matches, Jump(IN_REDIRECT), f"inbound port {port} is captured")
        return
    for port in options.inbound_ports_exclude:
        matches = (TCP, Port("tcp", "destination", (port,)))
        yield _nat(INBOUND, matches, Return(), f"inbound port {port} is excluded")
    yield _nat(INBOUND, (TCP,), Jump(IN_REDIRECT), "every other inbound port is captured")


def _outbound(options: Options) -> Iterator[Rule]:
    for port in options.outbound_ports_exclude:
        why = f"outbound port {port} is excluded; this wins over everything below"
        yield _nat(OUTBOUND, (Port("tcp", "destination", (port,), implies_protocol=True),), Return(), why)
        yield _nat(OUTBOUND, (Port("udp", "destination", (port,), implies_protocol=True),), Return(), why)
    why = "the inbound listener talks to the application from this address: catching it again would go on for ever"
    yield _nat(OUTBOUND, (LO, Address("source", MAGIC_SOURCE_V4)), Return(), why, 4)
    yield _nat(OUTBOUND, (LO, Address("source", MAGIC_SOURCE_V6)), Return(), why, 6)
    for uid in options.proxy_uids:
        yield from _owner(options, "uid", uid)
    for gid in options.proxy_gids:
        yield from _owner(options, "gid", gid)
    yield from _groups(options)
    if options.dns:
        yield from plan_dns.rules(options)
    why = "whoever says localhost means localhost"
    yield _nat(OUTBOUND, (Address("destination", options.loopback_cidr),), Return(), why, 4)
    yield _nat(OUTBOUND, (Address("destination", LOOPBACK_V6),), Return(), why, 6)
    for cidr in sorted(options.outbound_cidrs_exclude, key=lambda cidr: cidr.version):
        matches = (Address("destination", str(cidr)),)
        yield _nat(OUTBOUND, matches, Return(), f"network {cidr} is excluded", _family(cidr.version))
    for port in options.outbound_ports:
        matches_port = (Port("tcp", "destination", (port,), implies_protocol=True),)
        yield _nat(OUTBOUND, matches_port, Jump(REDIRECT), f"outbound port {port} is captured wherever it goes")
    yield from _outbound_networks(options)


def _owner(options: Options, kind: Literal["uid", "gid"], id_: str) -> Iterator[Rule]:
    """The three rules of one proxy uid or gid: hairpin, application to itself, exemption."""
    owner, other = Owner(kind, id_), Owner(kind, id_, negate=True)
    if options.dns and kind == "uid":
        not_through = Port("tcp", "destination", (53, options.inbound_tunnel_port), negate=True)
        beside = "; a local resolver that the agent asks stays out of this"
    else:
        not_through = Port("tcp", "destination", (options.inbound_tunnel_port,), negate=True)
        beside = ""
    why = f"hairpin: the proxy ({kind} {id_}) calls its own pod, so the call passes the inbound listener too{beside}"
    for family, loopback in _loopbacks(options):
        matches = (LO, Address("destination", loopback, negate=True), TCP, not_through, owner)
        yield _nat(OUTBOUND, matches, Jump(IN_REDIRECT), why, family)
    if not any(cidr.loopback for cidr in options.outbound_cidrs):
        why = f"who is not the proxy ({kind} {id_}) and calls the pod's own address or localhost, does so directly"
        if options.dns:
            not_dns = Port("tcp", "destination", (53,), negate=True)
            yield _nat(OUTBOUND, (LO, TCP, not_dns, other), Return(), f"{why}; DNS goes on, to a resolver on localhost")
        else:
            yield _nat(OUTBOUND, (LO, other), Return(), why)
    yield _nat(OUTBOUND, (owner,), Return(), f"the proxy's own traffic ({kind} {id_}) goes out, or it would loop")


def _loopbacks(options: Options) -> tuple[tuple[Family, str], ...]:
    return ((4, options.loopback_cidr), (6, LOOPBACK_V6))


def _groups(options: Options) -> Iterator[Rule]:
    if options.owner_groups is not None:
        none_of = tuple(Owner("gid", group, negate=True) for group in options.owner_groups)
        yield _nat(OUTBOUND, none_of, Return(), f"only groups {', '.join(options.owner_groups)} are captured")
        return
    for group in options.owner_groups_exclude:
        yield _nat(OUTBOUND, (Owner("gid", group),), Return(), f"group {group} is excluded")


def _outbound_networks(options: Options) -> Iterator[Rule]:
    why_vm = "what a virtual machine sends is outbound traffic of the pod"
    if options.outbound_all:
        yield _nat(OUTBOUND, (), Jump(REDIRECT), "everything else is captured (the redirect itself takes TCP only)")
        for name in options.virtual_interfaces:
            yield Rule("nat", PREROUTING, (Interface("in", name),), Jump(REDIRECT), why_vm, insert_at=1)
        return
    for cidr in sorted(options.outbound_cidrs, key=lambda cidr: cidr.version):
        family, destination = _family(cidr.version), Address("destination", str(cidr))
        for name in options.virtual_interfaces:
            matches = (Interface("in", name), destination)
            yield Rule("nat", PREROUTING, matches, Jump(REDIRECT), why_vm, insert_at=1, family=family)
        yield _nat(OUTBOUND, (destination,), Jump(REDIRECT), f"network {cidr} is captured", family)


def _family(version: int) -> Family:
    return 4 if version == 4 else 6
