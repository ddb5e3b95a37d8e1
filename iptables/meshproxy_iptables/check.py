"""`meshproxy-iptables check`: what is in place, compared with the options; changes nothing.

It reports the backend that holds the rules, what differs from the plan, missing routes and addresses, and programs
that listen under the proxy's uid although they are not the proxy: their traffic is exempt from capture, which is
the one mistake that no rule can show.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import routing
from .backend import resolve
from .choice import everywhere
from .errors import BackendError
from .log import Say
from .options import Options
from .processes import read_file
from .rules import Plan
from .settings import Settings

PROXY_PORTS = frozenset({15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090})
_LISTEN = "0A"


def report(plan: Plan, options: Options, settings: Settings, say: Say) -> tuple[list[str], bool]:
    """The lines of the report, and whether all is well."""
    lines: list[str] = []
    faults: list[str] = []
    holders = []
    for backend in everywhere(settings, say):
        try:
            if backend.present():
                holders.append(backend)
        except BackendError as error:
            lines.append(f"{backend.name}: can't be asked: {error}")
    lines.append(f"backend: {', '.join(backend.name for backend in holders) or 'none'}")
    if not holders:
        faults.append("no rules are in place")
    if len(holders) > 1:
        faults.append("rules are in place in several backends: traffic may be captured twice")
    for backend in holders:
        faults += [f"{backend.name}: {line}" for line in backend.drift(plan)]
    faults += routing.missing(plan)
    if not faults:
        lines.append(f"rules: {len(plan.rules)} in place, as planned")
    uids = {resolve("uid", uid) for uid in options.proxy_uids}
    faults += collisions(options, uids, _sockets())
    return lines + [f"fault: {line}" for line in faults], not faults


def collisions(options: Options, uids: set[str], sockets: Iterable[str]) -> list[str]:
    """Ports served under a uid of the proxy that are none of the proxy's.

    uids: the proxy's, as numbers. sockets: lines of /proc/net/tcp.
    """
    ours = PROXY_PORTS | {options.proxy_port, options.inbound_capture_port, options.inbound_tunnel_port}
    found = set()
    for line in sockets:
        fields = line.split()
        if len(fields) < 8 or fields[3] != _LISTEN or fields[7] not in uids:
            continue
        port = int(fields[1].rpartition(":")[2], 16)
        if port not in ours:
            found.add((port, fields[7]))
    return [
        f"port {port} is served by uid {uid}, the proxy's: what that program sends is not captured"
        for port, uid in sorted(found)
    ]


def _sockets() -> list[str]:
    lines: list[str] = []
    for name in ("tcp", "tcp6"):
        lines += read_file(f"/proc/net/{name}").splitlines()[1:]
    return lines
