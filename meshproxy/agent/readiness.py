"""Whether the proxy can take traffic, and if not, what is missing.

Ready is, as for pilot-agent: one CDS and one LDS push accepted in full (with a control plane), the server LIVE, its
workers started. Once it has been ready the answer is "yes" until it drains: a refused later push must not take a pod
out of service whose older configuration works. What was refused since is told all the same.
"""

from __future__ import annotations

import json
import time
from urllib.parse import quote

from meshproxy.agent.http import HttpError, fetch
from meshproxy.records import dataclass

_FILTER = (
    r"^(server\.state|listener_manager\.workers_started"
    r"|(listener_manager\.lds|cluster_manager\.cds)\.update_(success|rejected))$"
)
_LIVE = 0


@dataclass(frozen=True, slots=True)
class Readiness:
    """ready: the answer. missing: why not. notes: what is wrong though it is ready."""

    ready: bool
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        return "ready\n" if self.ready else "not ready: " + "; ".join(self.missing) + "\n"


def judge(stats: dict[str, int], *, dynamic: bool, was_ready: bool = False) -> Readiness:
    """Readiness by the proxy's statistics. dynamic: it has a control plane."""
    missing: list[str] = []
    notes: list[str] = []
    for kind, prefix in (("CDS", "cluster_manager.cds"), ("LDS", "listener_manager.lds")) if dynamic else ():
        accepted, refused = stats.get(f"{prefix}.update_success", 0), stats.get(f"{prefix}.update_rejected", 0)
        if not accepted:
            missing.append(
                f"{kind}: the configuration was refused {refused} times" if refused else f"{kind}: nothing received yet"
            )
        elif refused:
            notes.append(f"{kind}: {refused} updates were refused")
    if stats.get("server.state", -1) != _LIVE:
        missing.append(f"the proxy is not live (server.state {stats.get('server.state', 'unknown')})")
    if not stats.get("listener_manager.workers_started", 0):
        missing.append("its workers have not started")
    if was_ready:
        return Readiness(True, (), (*missing, *notes))
    return Readiness(not missing, tuple(missing), tuple(notes))


class ReadinessProbe:
    """Asks the proxy, and remembers that it was ready once. admin_port: 0 where there is no proxy.

    waiting_for: what keeps the proxy from being started at all; "" once it has been. took: seconds until it was ready.
    """

    def __init__(self, admin_port: int, *, dynamic: bool) -> None:
        self._port = admin_port
        self._dynamic = dynamic
        self._was_ready = False
        self.draining = False
        self.waiting_for = ""
        self._began = time.monotonic()
        self.took: float | None = None

    async def check(self) -> Readiness:
        if self.draining:
            return Readiness(False, ("draining",))
        if self.waiting_for:
            return Readiness(False, (self.waiting_for,))
        if not self._port:
            return Readiness(True)
        try:
            stats = await self._stats()
        except HttpError as error:
            return Readiness(False, (f"the proxy's admin interface doesn't answer: {error}",))
        found = judge(stats, dynamic=self._dynamic, was_ready=self._was_ready)
        if found.ready and self.took is None:
            self.took = time.monotonic() - self._began
        self._was_ready = self._was_ready or found.ready
        return found

    async def _stats(self) -> dict[str, int]:
        reply = await fetch(
            "127.0.0.1", self._port, f"/stats?format=json&filter={quote(_FILTER, safe='')}", timeout=2.0
        )
        if reply.status != 200:
            raise HttpError(f"/stats answered {reply.status}")
        try:
            entries = json.loads(reply.body)["stats"]
            return {entry["name"]: int(entry["value"]) for entry in entries if "name" in entry}
        except (ValueError, KeyError, TypeError) as error:
            raise HttpError(f"/stats answered something else: {error}") from None
