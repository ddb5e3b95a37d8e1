"""What validation asks for: real connections whose way through the rules is known. Pure.

Inbound: the proxy's own uid connects to 127.0.0.6 (or ::6). That is not localhost by the rules, so the hairpin rule
sends it to the inbound port; from 127.0.0.1 (or ::1), because from 127.0.0.6 it would be the inbound listener's own
call. Outbound: a uid that is not the proxy's connects to an address reserved for
documentation (RFC 5737, RFC 3849), which nobody answers, so an answer can only come from the outbound port.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from .options import Cidr, Options

DOCUMENTATION = {
    4: ("192.0.2.1", "198.51.100.1", "203.0.113.1"),
    6: ("2001:db8::1", "2001:db8:ffff::1"),
}
_STRANGERS = (65534, 65533, 65532, 65531)


@dataclass(frozen=True, slots=True)
class Probe:
    """One connection: `uid` and `gid` connect to `address`:`port`, and have to arrive at `expected` (a local port).

    source: the address to connect from; "" leaves it to the kernel.
    """

    direction: Literal["inbound", "outbound"]
    family: int
    address: str
    port: int
    expected: int
    uid: int
    gid: int
    source: str = ""

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.family == 6 else self.address
        return f"{self.direction} IPv{self.family}: uid {self.uid} to {host}:{self.port}"


def probes(
    options: Options, port: int, pod_addresses: dict[int, str], resolve: Callable[[str, str], str]
) -> tuple[list[Probe], list[str]]:
    """The probes for these options, and what can't be probed, as sentences.

    port: the destination port. pod_addresses: one address of the pod per family. resolve: names to numbers.
    """
    found: list[Probe] = []
    notes: list[str] = []
    for family in (4, 6) if options.ipv6 else (4,):
        for probe in (
            _inbound(options, family, port, pod_addresses, resolve),
            _outbound(options, family, port, resolve),
        ):
            if isinstance(probe, Probe):
                found.append(probe)
            else:
                notes.append(probe)
    return found, notes


def _inbound(
    options: Options, family: int, port: int, pod: dict[int, str], resolve: Callable[[str, str], str]
) -> Probe | str:
    address, source = ("127.0.0.6", "127.0.0.1") if family == 4 else ("::6", "::1")
    loopback = ipaddress.ip_network(options.loopback_cidr, strict=False)
    if family == 4 and ipaddress.ip_address(address) in loopback:
        if 4 not in pod:
            return (
                f"inbound IPv4 can't be probed: 127.0.0.6 lies in {options.loopback_cidr}, and there is no pod address"
            )
        address, source = pod[4], ""
    port = _free_port(port, options)
    uid, gid = resolve("uid", options.proxy_uids[0]), resolve("gid", options.proxy_gids[0])
    if not uid.isdigit():
        return f"inbound IPv{family} can't be probed: nobody here knows the proxy's user {uid}"
    identity = int(uid), _number(gid, int(uid))
    return Probe("inbound", family, address, port, options.inbound_capture_port, *identity, source)


def _outbound(options: Options, family: int, port: int, resolve: Callable[[str, str], str]) -> Probe | str:
    target = next(_targets(options, family, port), None)
    if target is None:
        return f"outbound IPv{family} can't be probed: no destination is captured"
    address, port = target
    proxy = {resolve("uid", name) for name in options.proxy_uids}
    uid = next(uid for uid in _STRANGERS if str(uid) not in proxy)
    gid = _captured_gid(options, resolve)
    if gid is None:
        return f"outbound IPv{family} can't be probed: no group of istio-outbound-owner-groups is known here"
    return Probe("outbound", family, address, port, options.proxy_port, uid, gid)


def _targets(options: Options, family: int, port: int) -> Iterator[tuple[str, int]]:
    """Destinations that the rules capture."""
    everywhere = [
        address for address in DOCUMENTATION[family] if not _excluded(address, options.outbound_cidrs_exclude)
    ]
    free = _free_port(port, options)
    if options.outbound_all:
        yield from ((address, free) for address in everywhere)
    for cidr in options.outbound_cidrs:
        address = str(_inside(cidr))
        if cidr.version == family and not cidr.loopback and not _excluded(address, options.outbound_cidrs_exclude):
            yield address, free
    for included in options.outbound_ports:
        yield from ((address, included) for address in everywhere)


def _inside(cidr: Cidr) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    network = cidr.network
    return network.network_address + (1 if network.num_addresses > 2 else 0)


def _excluded(address: str, cidrs: tuple[Cidr, ...]) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed.version == cidr.version and parsed in cidr.network for cidr in cidrs)


def _free_port(port: int, options: Options) -> int:
    """The port, or the next that no rule treats on its own."""
    special = {*options.outbound_ports_exclude, options.inbound_tunnel_port, 53}
    while port in special:
        port = port % 65535 + 1
    return port


def _captured_gid(options: Options, resolve: Callable[[str, str], str]) -> int | None:
    proxy = {resolve("gid", name) for name in options.proxy_gids}
    if options.owner_groups is not None:
        known = (resolve("gid", group) for group in options.owner_groups)
        return next((int(group) for group in known if group.isdigit() and group not in proxy), None)
    taken = {*proxy, *(resolve("gid", group) for group in options.owner_groups_exclude)}
    return next(gid for gid in _STRANGERS if str(gid) not in taken)


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isdigit() else otherwise
