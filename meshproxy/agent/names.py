"""The pod's name server with its table: from a file, from the control plane, or both (the newest counts)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from meshproxy.agent.dns_server import DnsServer
from meshproxy.agent.identity import Identity
from meshproxy.agent.name_table import NameTable
from meshproxy.agent.names_file import watch_names
from meshproxy.agent.names_stream import follow_names
from meshproxy.agent.settings import AgentSettings, parse_flag
from meshproxy.plugin.context import Logger
from meshproxy.runtime.dns.resolv_conf import ResolvConf, parse_resolv_conf

_LOOPBACK, _LOOPBACK_V6 = "127.0.0.1", "::1"
_RESOLV_CONF = Path("/etc/resolv.conf")


class Names:
    """Answers names for as long as it runs; does nothing unless DNS is captured."""

    def __init__(self, settings: AgentSettings, identity: Identity, log: Logger) -> None:
        self._settings = settings
        self._identity = identity
        self._log = log
        self._server: DnsServer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def entries(self) -> dict[str, Any]:
        """The table in force."""
        return dict(self._server.table.entries) if self._server is not None else {}

    async def start(self) -> None:
        """Raises OSError when the port can't be had."""
        settings = self._settings
        if not settings.dns_capture:
            return
        system = _system_names()
        host = settings.variables.get("DNS_PROXY_ADDR", "").rpartition(":")[0] or "127.0.0.1"
        parallel = parse_flag(settings.variables.get("DNS_FORWARD_PARALLEL", ""))
        self._server = server = DnsServer(system.servers, self._log, parallel=parallel)
        await server.start(_LOOPBACK if host == "localhost" else host, settings.ports.dns)
        if host in ("localhost", _LOOPBACK):
            with contextlib.suppress(OSError):  # a machine without IPv6 sends no queries there either
                await server.start(_LOOPBACK_V6, server.address[1])
        make = partial(NameTable, namespace=settings.namespace, domain=settings.domain, search=system.search)

        def use(table: NameTable) -> None:
            server.table = table

        if settings.dns_table:
            watching = watch_names(Path(settings.dns_table), make, use, self._log)
            self._tasks.append(asyncio.ensure_future(watching))
        if settings.discovery_address:
            self._tasks.append(asyncio.ensure_future(self._follow(lambda entries: use(make(entries)))))

    async def _follow(self, use: Any) -> None:
        directory: Path | None = None
        if self._identity.is_ours and not self._settings.discovery_address.endswith(":15010"):
            await self._identity.certificates.there.wait()
            directory = Path(self._settings.certificate_directory)

        def take(entries: Mapping[str, Mapping[str, Any]]) -> None:
            use(entries)
            self._log.info("name table received", hosts=len(entries))

        await follow_names(self._settings, directory, take, self._log)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            self._server.close()


def _system_names() -> ResolvConf:
    """Whom the system asks for names; the defaults where it doesn't say."""
    try:
        return parse_resolv_conf(_RESOLV_CONF.read_text())
    except OSError:
        return parse_resolv_conf("")
