"""What the plan needs beside rules: the address ::6 on the loopback interface, and policy routing for TPROXY.

127.0.0.6 needs nothing, IPv4 loopback is a /8. IPv6 loopback is one address, so ::6 has to be added before the
inbound listener can bind it. TPROXY needs marked packets to be delivered on this host, whatever their destination.

Everything we add carries our protocol number (see `netlink.OURS`), and only that is removed: an address that was
there before us stays.
"""

from __future__ import annotations

import errno
import socket

from .errors import InterceptionError
from .netlink import OURS, LocalRoute, MarkRule, Netlink, keeps_address_protocol
from .rules import Plan

MAGIC_V6 = "::6"


def apply(plan: Plan) -> list[str]:
    """Adds what is missing, removes what another plan had added; returns what was done, one line each."""
    with Netlink() as netlink:
        lo = socket.if_nametoindex("lo")
        done = _apply_address(netlink, plan, lo)
        wanted = _wanted(plan)
        for rule in netlink.mark_rules():
            if rule.protocol == OURS and (rule.version, rule.mark, rule.table) not in wanted:
                done += _remove_rule(netlink, rule)
        rules = {(rule.version, rule.mark, rule.table) for rule in netlink.mark_rules()}
        for version, mark, table in wanted:
            if (version, mark, table) not in rules:
                netlink.add_mark_rule(version, mark, table)
                done.append(f"added: IPv{version} packets with mark {mark} use routing table {table}")
        tables = {table for _, _, table in wanted}
        routes = {(route.version, route.table) for route in netlink.local_routes(tables)}
        for version, _, table in wanted:
            if (version, table) not in routes:
                netlink.add_local_route(version, table, lo)
                done.append(f"added: IPv{version} routing table {table} delivers everything on this host")
        return done


def remove() -> list[str]:
    """Removes what we added; returns what was done, one line each."""
    with Netlink() as netlink:
        done: list[str] = []
        for rule in netlink.mark_rules():
            if rule.protocol == OURS:
                done += _remove_rule(netlink, rule)
        return done + _remove_address(netlink, socket.if_nametoindex("lo"))


def missing(plan: Plan) -> list[str]:
    """What the plan needs and is not there, one line each."""
    with Netlink() as netlink:
        found = []
        addresses = {(address.address, address.index) for address in netlink.addresses()}
        if plan.ipv6 and (MAGIC_V6, socket.if_nametoindex("lo")) not in addresses:
            found.append(f"address {MAGIC_V6} of lo is missing")
        wanted = _wanted(plan)
        rules = {(rule.version, rule.mark, rule.table) for rule in netlink.mark_rules()}
        routes = {(route.version, route.table) for route in netlink.local_routes({table for _, _, table in wanted})}
        for version, mark, table in wanted:
            if (version, mark, table) not in rules:
                found.append(f"IPv{version} rule for mark {mark} is missing")
            if (version, table) not in routes:
                found.append(f"IPv{version} route in table {table} is missing")
        return found


def _wanted(plan: Plan) -> list[tuple[int, int, int]]:
    if plan.mark is None or plan.table is None:
        return []
    return [(version, plan.mark, plan.table) for version in ((4, 6) if plan.ipv6 else (4,))]


def _apply_address(netlink: Netlink, plan: Plan, lo: int) -> list[str]:
    if not plan.ipv6:
        return _remove_address(netlink, lo)
    try:
        netlink.add_address(6, MAGIC_V6, 128, lo)
    except FileExistsError:
        return []
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAFNOSUPPORT, errno.EPERM):
            why = "IPv6 is disabled in this network namespace, or CAP_NET_ADMIN is missing"
            raise InterceptionError(f"can't add {MAGIC_V6} to lo: {why} ({error.strerror})") from None
        raise
    return [f"added: address {MAGIC_V6} of lo, the source of inbound IPv6 connections to the application"]


def _remove_address(netlink: Netlink, lo: int) -> list[str]:
    for address in netlink.addresses():
        ours = address.protocol == OURS or not keeps_address_protocol()
        if (address.address, address.index) == (MAGIC_V6, lo) and ours:
            netlink.delete_address(6, MAGIC_V6, 128, lo)
            return [f"removed: address {MAGIC_V6} of lo"]
    return []


def _remove_rule(netlink: Netlink, rule: MarkRule) -> list[str]:
    netlink.delete_mark_rule(rule)
    done = [f"removed: IPv{rule.version} rule for mark {rule.mark}"]
    for route in netlink.local_routes({rule.table}):
        if route.protocol == OURS and route.version == rule.version:
            netlink.delete_local_route(LocalRoute(route.version, route.table, OURS))
            done.append(f"removed: IPv{route.version} route of table {route.table}")
    return done
