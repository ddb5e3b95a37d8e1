"""The agent's life: write the bootstrap, start the proxy and the servers beside it, and end them in good order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from meshproxy.agent.bootstrap import make_bootstrap
from meshproxy.agent.dns_server import DnsServer
from meshproxy.agent.ending import Ending
from meshproxy.agent.http import serve
from meshproxy.agent.name_table import NameTable
from meshproxy.agent.names_file import watch_names
from meshproxy.agent.probes import read_probers
from meshproxy.agent.proxy_process import exit_code, proxy_arguments, reap_orphans, start_proxy
from meshproxy.agent.readiness import ReadinessProbe
from meshproxy.agent.settings import AgentSettings
from meshproxy.agent.status import StatusPages, read_scrape_targets
from meshproxy.errors import ConfigError, Problem
from meshproxy.plugin.context import Logger
from meshproxy.runtime.resolv_conf import ResolvConf, parse_resolv_conf

_RESOLV_CONF = Path("/etc/resolv.conf")


def write_bootstrap(settings: AgentSettings) -> tuple[Path, dict[str, Any]]:
    """Write the bootstrap to `<configPath>/envoy-rev.json`. Returns its path, and what the proxy will have altogether.

    Raises ConfigError, OSError.
    """
    custom: dict[str, Any] = {}
    if settings.custom_config_file:
        try:
            custom = yaml.safe_load(Path(settings.custom_config_file).read_text())
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(Problem("", " ".join(str(error).split()), settings.custom_config_file)) from None
        if not isinstance(custom, dict):
            raise ConfigError(Problem("", "is not a mapping", settings.custom_config_file))
    bootstrap = make_bootstrap(settings, custom)
    folder = Path(settings.config_path)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "envoy-rev.json"
    path.write_text(json.dumps(bootstrap, indent=1))
    return path, {**custom, **bootstrap}


class Agent:
    """One agent with its proxy. Made of settings, run once."""

    def __init__(self, settings: AgentSettings, log: Logger, proxy_flags: Sequence[str] = ()) -> None:
        """Raises ConfigError."""
        self._settings = settings
        self._log = log
        self._flags = proxy_flags
        self._probers = read_probers(settings.variables)
        self._targets = read_scrape_targets(settings.variables)
        self._bootstrap, content = write_bootstrap(settings)
        dynamic = "dynamic_resources" in content
        self._admin_port = _admin_port(content, settings.ports.admin)
        self._readiness = ReadinessProbe(self._admin_port, dynamic=dynamic)
        self._dns: DnsServer | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._end = asyncio.Event()

    async def run(self) -> int:
        """Run until the proxy has ended; returns the exit code. Raises OSError when a port can't be had."""
        settings = self._settings
        for warning in settings.warnings:
            self._log.warning(warning)
        if settings.dns_capture:
            await self._start_dns()
        process = await start_proxy(proxy_arguments(settings, self._bootstrap, self._flags))
        self._log.info("proxy started", pid=process.pid, bootstrap=str(self._bootstrap))
        ending = self._ending(process)
        status = await serve(None, settings.ports.status, self._pages(ending).handle)
        try:
            self._watch_signals(process.pid, ending)
            ended = asyncio.ensure_future(process.wait())
            asked = asyncio.ensure_future(self._end.wait())
            await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                self._readiness.draining = True
                self._log.info("ending the proxy")
                await ending.run()
            asked.cancel()
            code = exit_code(await ended)
        finally:
            status.close()
            if self._dns is not None:
                self._dns.close()
            for task in self._tasks:
                task.cancel()
            if process.returncode is None:
                process.kill()
        hint = " (out of memory, perhaps)" if code == 128 + signal.SIGKILL else ""
        self._log.info(f"proxy ended{hint}", code=code)
        return code

    def _ending(self, process: asyncio.subprocess.Process) -> Ending:
        ports = self._settings.ports
        return Ending(
            process,
            self._settings.drain,
            admin_port=self._admin_port,
            own_ports=(ports.ready, ports.prometheus),
            inbound_only=self._settings.role == "sidecar",
            log=self._log,
        )

    def _pages(self, ending: Ending) -> StatusPages:
        async def drain() -> None:
            self._readiness.draining = True
            await ending.drain()

        def end_now() -> None:
            ending.now.set()
            ending.draining = True
            self._end.set()

        return StatusPages(
            self._readiness,
            admin_port=self._admin_port,
            probers=self._probers,
            targets=self._targets,
            application_ip=self._settings.ip,
            end=end_now,
            drain=drain,
            name_table=lambda: dict(self._dns.table.entries) if self._dns is not None else {},
        )

    def _watch_signals(self, child: int, ending: Ending) -> None:
        loop = asyncio.get_running_loop()

        def end() -> None:
            if self._end.is_set():
                ending.now.set()
            self._end.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        if os.getpid() == 1:
            loop.add_signal_handler(signal.SIGCHLD, partial(reap_orphans, child))

    async def _start_dns(self) -> None:
        settings = self._settings
        system = _system_names()
        host = settings.variables.get("DNS_PROXY_ADDR", "").rpartition(":")[0] or "127.0.0.1"
        self._dns = DnsServer(system.servers, self._log)
        await self._dns.start("127.0.0.1" if host == "localhost" else host, settings.ports.dns)
        make = partial(NameTable, namespace=settings.namespace, domain=settings.domain, search=system.search)
        if settings.dns_table:
            watching = watch_names(Path(settings.dns_table), make, self._use_names, self._log)
            self._tasks.append(asyncio.ensure_future(watching))

    def _use_names(self, table: NameTable) -> None:
        if self._dns is not None:
            self._dns.table = table


def _system_names() -> ResolvConf:
    """Whom the system asks for names; the defaults where it doesn't say."""
    try:
        return parse_resolv_conf(_RESOLV_CONF.read_text())
    except OSError:
        return parse_resolv_conf("")


def _admin_port(bootstrap: dict[str, Any], default: int) -> int:
    """Where the admin interface will be: a custom bootstrap may have its own."""
    try:
        return int(bootstrap["admin"]["address"]["socket_address"]["port_value"])
    except (KeyError, TypeError, ValueError):
        return default


def run_agent(settings: AgentSettings, log: Logger, proxy_flags: Sequence[str] = ()) -> int:
    """Run an agent; returns the exit code. Raises ConfigError, OSError."""
    return asyncio.run(Agent(settings, log, proxy_flags).run())
