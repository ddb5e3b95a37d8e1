"""The agent's life: write the bootstrap, start the proxy and the servers beside it, and end them in good order.

Invariants:
- the status page answers before anything else, so that whoever asks why the pod isn't ready is told;
- the proxy is started once names are answered, secrets are served and a certificate is there;
- the agent lives as long as its proxy and ends with the proxy's exit code; nothing that it started outlives it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from meshproxy.agent.application.probes import read_probers
from meshproxy.agent.bootstrap import make_bootstrap
from meshproxy.agent.control_plane.discovery import Discovery
from meshproxy.agent.ending import Ending
from meshproxy.agent.figures import Figures
from meshproxy.agent.grpc_bootstrap import write_grpc_bootstrap
from meshproxy.agent.http import serve
from meshproxy.agent.identity.identity import Identity
from meshproxy.agent.names.names import Names
from meshproxy.agent.proxy_process import exit_code, proxy_arguments, reap_orphans, start_proxy
from meshproxy.agent.readiness import ReadinessProbe
from meshproxy.agent.settings import AgentSettings
from meshproxy.agent.status import StatusPages, read_scrape_targets
from meshproxy.errors import ConfigError, Problem
from meshproxy.plugin.context import Logger


def write_bootstrap(settings: AgentSettings, secrets: str = "") -> tuple[Path, dict[str, Any]]:
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
    bootstrap = make_bootstrap(settings, custom, secrets)
    folder = Path(settings.config_path)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "envoy-rev.json"
    path.write_text(json.dumps(bootstrap, indent=1))
    return path, {**custom, **bootstrap}


class Agent:
    """One agent with its proxy. Made of settings, run once."""

    def __init__(self, settings: AgentSettings, log: Logger, proxy_flags: Sequence[str] = ()) -> None:
        """Raises ConfigError, OSError."""
        self._settings = settings
        self._log = log
        self._flags = proxy_flags
        figures = Figures()
        self._identity = Identity(settings, log, figures)
        self._names = Names(settings, log)
        self._bootstrap, content = write_bootstrap(settings, self._identity.secrets)
        self._admin_port = _admin_port(content, settings.ports.admin)
        proxy_port = self._admin_port if settings.with_proxy else 0
        self._readiness = ReadinessProbe(proxy_port, dynamic="dynamic_resources" in content)
        self._discovery = Discovery(settings, self._identity, self._names, self._readiness, figures, log)
        self._pages = StatusPages(
            self._readiness,
            admin_port=proxy_port,
            probers=read_probers(settings.variables),
            targets=read_scrape_targets(settings.variables),
            application_ip=settings.ip,
            end=self._end_now,
            drain=self._drain,
            name_table=self._names.entries,
            figures=figures,
        )
        figures.read("startup_duration_seconds", lambda: self._readiness.took)
        self._names.tell(figures)
        self._process: asyncio.subprocess.Process | None = None
        self._ending: Ending | None = None
        self._asked = asyncio.Event()
        self._now = False

    async def run(self) -> int:
        """Run until the proxy has ended; returns the exit code. Raises OSError when a port can't be had."""
        for warning in self._settings.warnings:
            self._log.warning(warning)
        status = await serve(None, self._settings.ports.status, self._pages.handle)
        try:
            self._watch_signals()
            await self._names.start()
            await self._identity.start()
            await self._until_certified()
            await self._discovery.start()
            if self._settings.grpc_bootstrap:
                write_grpc_bootstrap(self._settings)
            if not self._settings.with_proxy:
                await self._asked.wait()
            return 0 if self._asked.is_set() else await self._run_proxy()
        finally:
            status.close()
            self._discovery.close()
            self._names.close()
            self._identity.close()
            if self._process is not None and self._process.returncode is None:
                self._process.kill()

    async def _until_certified(self) -> None:
        """Wait for the certificate that the proxy shows to its control plane, or until asked to end."""
        asked = asyncio.ensure_future(self._asked.wait())
        there = asyncio.ensure_future(self._identity.certificates.there.wait())
        while self._identity.missing and not asked.done():
            self._readiness.waiting_for = self._identity.missing
            await asyncio.wait([asked, there], timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        self._readiness.waiting_for = ""
        asked.cancel()
        there.cancel()

    async def _run_proxy(self) -> int:
        process = await start_proxy(proxy_arguments(self._settings, self._bootstrap, self._flags))
        self._process = process
        self._log.info("proxy started", pid=process.pid, bootstrap=str(self._bootstrap))
        ports = self._settings.ports
        self._ending = Ending(
            process,
            self._settings.drain,
            admin_port=self._admin_port,
            own_ports=(ports.ready, ports.prometheus),
            inbound_only=self._settings.role == "sidecar",
            log=self._log,
        )
        ended = asyncio.ensure_future(process.wait())
        asked = asyncio.ensure_future(self._asked.wait())
        await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not ended.done():
            self._readiness.draining = True
            self._log.info("ending the proxy")
            if self._now:
                self._ending.end_now()
            await self._ending.run()
        code = exit_code(await ended)
        if code == 128 + signal.SIGTERM and self._asked.is_set():
            code = 0  # the second SIGTERM came when it was on its way out already
        hint = " (out of memory, perhaps)" if code == 128 + signal.SIGKILL else ""
        self._log.info(f"proxy ended{hint}", code=code)
        return code

    # What ends it.

    async def _drain(self) -> None:
        self._readiness.draining = True
        if self._ending is not None:
            await self._ending.drain()

    def _end_now(self) -> None:
        self._now = True
        self._asked.set()
        if self._ending is not None:
            self._ending.end_now()

    def _signalled(self) -> None:
        if self._asked.is_set():
            self._end_now()
        self._asked.set()

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        if os.getpid() == 1:
            loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def _reap(self) -> None:
        reap_orphans(self._process.pid if self._process is not None else 0)


def _admin_port(bootstrap: dict[str, Any], default: int) -> int:
    """Where the admin interface will be: a custom bootstrap may have its own."""
    try:
        return int(bootstrap["admin"]["address"]["socket_address"]["port_value"])
    except (KeyError, TypeError, ValueError):
        return default


def run_agent(settings: AgentSettings, log: Logger, proxy_flags: Sequence[str] = ()) -> int:
    """Run an agent; returns the exit code. Raises ConfigError, OSError."""
    return asyncio.run(Agent(settings, log, proxy_flags).run())
