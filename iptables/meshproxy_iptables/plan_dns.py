"""Capture of DNS: queries to port 53 go to the agent on 15053, over TCP and UDP.

By default only the resolvers of the pod (`/etc/resolv.conf`) are captured. Capturing every port 53 would send back
what a local forwarder (dnsmasq) asks its upstream, and close a circle.

UDP needs more than the redirect. Translations are remembered per connection-tracking tuple, so a client that uses a
source port which the agent has just used towards the resolver would inherit that tuple and miss the agent. Zones
keep the two worlds apart: zone 2 is client and agent, zone 1 is agent and resolver.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from .options import Options
from .rules import (
    INBOUND,
    OUTBOUND,
    OUTPUT,
    OUTPUT_DNS,
    PREROUTING,
    Address,
    Family,
    Jump,
    Match,
    Owner,
    Port,
    Proto,
    Protocol,
    RedirectTo,
    Rule,
    SetZone,
)

AGENT_PORT = 15053
UPSTREAM_ZONE = 1
CLIENT_ZONE = 2


def rules(options: Options) -> Iterator[Rule]:
    """The rules of DNS capture; the options name at least one resolver, or all."""
    yield Rule("raw", OUTPUT, (), Jump(OUTPUT_DNS), "DNS packets of local processes get their tracking zone")
    yield Rule("nat", OUTBOUND, (), Jump(OUTPUT_DNS), "DNS is judged before localhost is exempt", family=_jump(options))
    for protocol in ("tcp", "udp"):
        yield from _redirects(options, protocol)
    for uid in options.proxy_uids:
        yield from _agent(Owner("uid", uid))
    for gid in options.proxy_gids:
        yield from _agent(Owner("gid", gid))
    yield from _zones(options)


def _jump(options: Options) -> Family | None:
    """The family whose chain gets DNS rules; None for both."""
    if options.dns_all or (options.dns_servers_v4 and options.dns_servers_v6):
        return None
    return 4 if options.dns_servers_v4 else 6


def _servers(options: Options) -> Iterator[tuple[Family, str]]:
    for server in options.dns_servers_v4:
        yield 4, f"{server}/32"
    for server in options.dns_servers_v6:
        yield 6, f"{server}/128"


def _port(protocol: Protocol, side: Literal["source", "destination"], port: int) -> Port:
    return Port(protocol, side, (port,), implies_protocol=True)


def _redirects(options: Options, protocol: Protocol) -> Iterator[Rule]:
    verdict = RedirectTo(AGENT_PORT, protocol)
    if options.dns_all:
        why = f"every DNS query over {protocol.upper()} goes to the agent"
        matches: tuple[Match, ...] = (_port("udp", "destination", 53),)
        if protocol == "tcp":
            matches = (Proto("tcp"), Port("tcp", "destination", (53,)))
        yield Rule("nat", OUTPUT_DNS, matches, verdict, why)
        return
    for family, server in _servers(options):
        why = f"DNS over {protocol.upper()} to the resolver {server} goes to the agent"
        matches = (_port(protocol, "destination", 53), Address("destination", server))
        yield Rule("nat", OUTPUT_DNS, matches, verdict, why, family=family)


def _agent(owner: Owner) -> Iterator[Rule]:
    query = (_port("udp", "destination", 53), owner)
    yield Rule("raw", OUTPUT_DNS, query, SetZone(UPSTREAM_ZONE), "the agent's own queries to the resolver")
    answer = (_port("udp", "source", AGENT_PORT), owner)
    yield Rule("raw", OUTPUT_DNS, answer, SetZone(CLIENT_ZONE), "the agent's answers to a client")


def _zones(options: Options) -> Iterator[Rule]:
    why_jump = "answers of the resolver get the zone of the query"
    why_query = "a client's query belongs to client and agent"
    why_answer = "an answer of the resolver belongs to agent and resolver"
    query, answer = _port("udp", "destination", 53), _port("udp", "source", 53)
    if options.dns_all:
        yield Rule("raw", PREROUTING, (), Jump(INBOUND), why_jump)
        yield Rule("raw", OUTPUT_DNS, (query,), SetZone(CLIENT_ZONE), why_query)
        yield Rule("raw", INBOUND, (answer,), SetZone(UPSTREAM_ZONE), why_answer)
        return
    yield Rule("raw", PREROUTING, (), Jump(INBOUND), why_jump, family=_jump(options))
    for family, server in _servers(options):
        to_server, from_server = Address("destination", server), Address("source", server)
        yield Rule("raw", OUTPUT_DNS, (query, to_server), SetZone(CLIENT_ZONE), why_query, family=family)
        yield Rule("raw", INBOUND, (answer, from_server), SetZone(UPSTREAM_ZONE), why_answer, family=family)
