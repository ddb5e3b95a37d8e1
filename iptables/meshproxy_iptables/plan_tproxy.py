"""Inbound by TPROXY: the packet keeps source and destination, so that the application sees who called.

Nothing is translated, hence everything lives in the mangle table and in policy routing: a packet with the mark is
routed to the loopback interface, where the transparent socket takes it. Three marks of a packet tell the stories:

- `tproxy_mark` (1337): the proxy talks to the application with the client's address (Envoy's `original_src`
  filter sets it). It is saved on the connection, so that the application's answers find back to the proxy;
- `OUTBOUND_MARK` (1338): the proxy calls its own pod, the hairpin, which has to be captured although it comes in
  through `lo`;
- neither, through `lo`: the application talks to itself and is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from .options import Options
from .rules import (
    DIVERT,
    INBOUND,
    OUTPUT,
    PREROUTING,
    TPROXY,
    Accept,
    Address,
    ConnState,
    Family,
    Interface,
    Jump,
    Mark,
    Match,
    Owner,
    Port,
    Proto,
    RestoreMark,
    Return,
    Rule,
    SaveMark,
    SetMark,
    TproxyTo,
)

OUTBOUND_MARK = 1338
TCP = Proto("tcp")
OUT_LO = Interface("out", "lo")
IN_LO = Interface("in", "lo")
ESTABLISHED = ConnState(("RELATED", "ESTABLISHED"))


def inbound(options: Options) -> Iterator[Rule]:
    """The chains that divert packets of known connections and hand new ones to the proxy."""
    why = "a packet of a connection that the proxy holds is routed to the loopback interface"
    yield Rule("mangle", DIVERT, (), SetMark(options.tproxy_mark), why)
    yield Rule("mangle", DIVERT, (), Accept(), why)
    verdict = TproxyTo(options.inbound_capture_port, options.tproxy_mark)
    why = f"a new inbound connection goes, unchanged, to the proxy on {options.inbound_capture_port}"
    for family, loopback in _loopbacks(options):
        matches = (Address("destination", loopback, negate=True), TCP)
        yield Rule("mangle", TPROXY, matches, verdict, why, family=family)
    yield Rule("mangle", PREROUTING, (TCP,), Jump(INBOUND), "TCP that arrives for the pod is judged")
    if not options.inbound_all:
        for port in options.inbound_ports:
            yield from _capture((Port("tcp", "destination", (port,)),), f"inbound port {port} is captured")
        return
    for port in options.inbound_ports_exclude:
        matches_port = (TCP, Port("tcp", "destination", (port,)))
        yield Rule("mangle", INBOUND, matches_port, Return(), f"inbound port {port} is excluded")
    yield from _capture((), "every other inbound port is captured")


def marks(options: Options) -> Iterator[Rule]:
    """The rules that carry marks between packets and connections, and keep the proxy out of its own way."""
    mark = options.tproxy_mark
    own = Mark(mark)
    why = "the mark of the proxy's connection to the application is kept for the answers"
    yield Rule("mangle", PREROUTING, (TCP, own), SaveMark(), why)
    why = "what the proxy sends the application under the client's address keeps its mark"
    yield Rule("mangle", OUTPUT, (TCP, OUT_LO, own), Return(), why)
    owners = [Owner("uid", uid) for uid in options.proxy_uids] + [Owner("gid", gid) for gid in options.proxy_gids]
    why = "hairpin: the proxy calls its own pod, so the call passes the inbound listener too"
    for owner in owners:
        for family, loopback in _loopbacks(options):
            matches = (Address("destination", loopback, negate=True), TCP, OUT_LO, owner)
            yield Rule("mangle", OUTPUT, matches, SetMark(OUTBOUND_MARK), why, family=family)
    why = "the application's answers are routed back to the proxy"
    yield Rule("mangle", OUTPUT, (TCP, Mark(mark, of_connection=True)), RestoreMark(), why)
    why = "what the proxy sends must not be captured again"
    yield Rule("mangle", INBOUND, (TCP, own), Return(), why, insert_at=1)
    for family, source in ((4, "127.0.0.6/32"), (6, "::6/128")):
        why = "the inbound listener talks to the application from this address"
        from_proxy = (TCP, Address("source", source), IN_LO)
        yield Rule("mangle", INBOUND, from_proxy, Return(), why, insert_at=2, family=_family(family))
    why = "the application talks to itself"
    yield Rule("mangle", INBOUND, (TCP, IN_LO, Mark(OUTBOUND_MARK, negate=True)), Return(), why, insert_at=3)


def _capture(port: tuple[Match, ...], why: str) -> Iterator[Rule]:
    yield Rule("mangle", INBOUND, (TCP, *port, ESTABLISHED), Jump(DIVERT), f"{why}: a connection that exists")
    yield Rule("mangle", INBOUND, (TCP, *port), Jump(TPROXY), f"{why}: a new connection")


def _loopbacks(options: Options) -> tuple[tuple[Family, str], ...]:
    return ((4, options.loopback_cidr), (6, "::1/128"))


def _family(version: int) -> Family:
    return 4 if version == 4 else 6
