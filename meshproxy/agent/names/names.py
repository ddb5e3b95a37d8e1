"""The pod's name server with its table: from a file, from the control plane, or both (the newest counts)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from meshproxy.agent.figures import Figures
from meshproxy.agent.istio_messages import NameTableMessage
from meshproxy.agent.names.dns_server import DnsServer
from meshproxy.agent.names.name_table import NameTable
from meshproxy.agent.names.names_file import watch_names
from meshproxy.agent.settings import AgentSettings, parse_flag
from meshproxy.plugin.context import Logger
from meshproxy.runtime.dns.resolv_conf import ResolvConf, parse_resolv_conf

_LOOPBACK, _LOOPBACK_V6 = "127.0.0.1", "::1"
_RESOLV_CONF = Path("/etc/resolv.conf")


class Names:
    """Answers names for as long as it runs; does nothing unless DNS is captured."""

    def __init__(self, settings: AgentSettings, log: Logger) -> None:
        self._settings = settings
        self._log = log
        self._server: DnsServer | None = None
        self._make: partial[NameTable]
        self._tasks: list[asyncio.Task[None]] = []

    def tell(self, figures: Figures) -> None:
        """Let it be known how many names are asked for."""

        def count(*kinds: str) -> int | None:
            return sum(self._server.counts[kind] for kind in kinds) if self._server is not None else None

        figures.read("dns_requests_total", lambda: count("answered", "forwarded", "failed"))
        figures.read("dns_upstream_requests_total", lambda: count("forwarded", "failed"))
        figures.read("dns_upstream_failures_total", lambda: count("failed"))

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
        self._make = partial(NameTable, namespace=settings.namespace, domain=settings.domain, search=system.search)
        if settings.dns_table:
            watching = watch_names(Path(settings.dns_table), self._make, self._use, self._log)
            self._tasks.append(asyncio.ensure_future(watching))

    def _use(self, table: NameTable) -> None:
        assert self._server is not None
        self._server.table = table

    def take(self, resources: Sequence[bytes]) -> None:
        """Use the `NameTable` that the control plane has sent. Raises ValueError, or what protobuf raises."""
        for resource in resources:
            entries = table_of(NameTableMessage.FromString(resource))
            self._use(self._make(entries))
            self._log.info("name table received", hosts=len(entries))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            self._server.close()


def table_of(message: Any) -> dict[str, dict[str, Any]]:
    """A `NameTable` as the mapping that its JSON has."""
    return {
        host: {
            "ips": list(info.ips),
            "registry": info.registry,
            "shortname": info.shortname,
            "namespace": info.namespace,
        }
        for host, info in message.table.items()
    }


def _system_names() -> ResolvConf:
    """Whom the system asks for names; the defaults where it doesn't say."""
    try:
        return parse_resolv_conf(_RESOLV_CONF.read_text())
    except OSError:
        return parse_resolv_conf("")
