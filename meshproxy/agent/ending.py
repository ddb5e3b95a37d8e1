"""How the proxy is ended without losing a request.

    asked to end  -> not ready any more, inbound listeners drain gracefully (a router: all of them)
                  -> `termination` seconds pass, or, with `until_idle`, `minimum` and then until no connection is left
                  -> the proxy gets SIGTERM: it finishes what is in flight
                  -> at the deadline it is told a second time, which ends it at once; two seconds later it is killed

Only one deadline bounds all of it. Told to end while it drains for good already (`/drain`, the hook of a native
sidecar), or told twice, the proxy is ended at once.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
from typing import Protocol

from meshproxy.agent.http import HttpError, fetch
from meshproxy.agent.settings import Drain
from meshproxy.plugin.context import Logger

_POLL = 1.0
_PATIENCE = 5
"""How many times in a row the proxy may fail to say how many connections it has."""
_KILL_AFTER = 2.0
_ACTIVE = re.compile(r"listener\.(?!admin)(?!.*\.(?:worker_\d+|main_thread)\.)(?P<name>.+)\.downstream_cx_active\Z")


class Process(Protocol):
    """The proxy's process."""

    def send_signal(self, signal: int, /) -> None: ...
    async def wait(self) -> int: ...


def count_active(stats: list[dict[str, object]], own_ports: tuple[int, ...]) -> int:
    """Open connections of the application's listeners: not of the admin's, nor of those on `own_ports`."""
    total = 0
    for entry in stats:
        found = _ACTIVE.match(str(entry.get("name", "")))
        if found is None or any(found["name"].endswith(f"_{port}") for port in own_ports):
            continue
        if found["name"].startswith("envoy_internal_"):
            continue
        total += int(str(entry["value"]))
    return total


class Ending:
    """The end of one proxy. Times in seconds."""

    def __init__(
        self,
        process: Process,
        drain: Drain,
        *,
        admin_port: int,
        own_ports: tuple[int, ...],
        inbound_only: bool,
        log: Logger,
    ) -> None:
        self._process = process
        self._settings = drain
        self._admin_port = admin_port
        self._own_ports = own_ports
        self._inbound_only = inbound_only
        self._log = log
        self.draining = False
        self._now = asyncio.Event()

    def end_now(self) -> None:
        """Wait for nothing any more."""
        self.draining = True
        self._now.set()

    async def drain(self, *, skip_exit: bool = True) -> None:
        """Tell the listeners to drain; what is connected stays."""
        self.draining = True
        query = ["graceful"] + (["skip_exit"] if skip_exit else []) + (["inboundonly"] if self._inbound_only else [])
        try:
            await fetch("127.0.0.1", self._admin_port, "/drain_listeners?" + "&".join(query), method="POST")
        except HttpError as error:
            self._log.warning("the proxy could not be told to drain", error=str(error))

    async def run(self) -> None:
        """End the proxy. Returns when its process has."""
        settings = self._settings
        started = asyncio.get_running_loop().time()
        if self.draining:
            self._now.set()
        else:
            await self.drain(skip_exit=False)
            await self._unless_now(self._until_idle() if settings.until_idle else asyncio.sleep(settings.termination))
        left = settings.deadline - (asyncio.get_running_loop().time() - started)
        self._send(signal.SIGTERM)
        if not self._now.is_set() and left > 0:
            await self._unless_now(self._ended(left))
        self._send(signal.SIGTERM)
        if not await self._ended(_KILL_AFTER):
            self._log.warning("the proxy doesn't end, it is killed")
            self._send(signal.SIGKILL)
            await self._process.wait()

    def _send(self, number: signal.Signals) -> None:
        try:
            self._process.send_signal(number)
        except ProcessLookupError:
            pass

    async def _ended(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def _unless_now(self, waiting: object) -> None:
        """Wait for it, or until the proxy has ended, or until told not to wait."""
        tasks = [
            asyncio.ensure_future(waiting),  # type: ignore[call-overload]  # any awaitable
            asyncio.ensure_future(self._now.wait()),
            asyncio.ensure_future(self._process.wait()),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _until_idle(self) -> None:
        await asyncio.sleep(self._settings.minimum)
        failures = 0
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.deadline - self._settings.minimum
        while failures < _PATIENCE and loop.time() < end:
            try:
                reply = await fetch(
                    "127.0.0.1", self._admin_port, "/stats?format=json&filter=downstream_cx_active", timeout=2.0
                )
                active = count_active(json.loads(reply.body)["stats"], self._own_ports)
            except (HttpError, ValueError, KeyError):
                failures += 1
            else:
                failures = 0
                if active == 0:
                    return
                self._log.info("waiting for connections to end", active=active)
            await asyncio.sleep(_POLL)
