"""The agent between proxy and control plane: the relay, what it takes out of it, and what it tells.

PROXY_CONFIG_XDS_AGENT              further roots that are to be trusted come from the control plane
PROXY_XDS_DEBUG_VIA_AGENT(_PORT)    its own debugging pages are asked for here, from the pod only (15004)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from meshproxy.agent.application.application_health import HEALTH_TYPE, watch_health
from meshproxy.agent.control_plane.control_plane import ControlPlane
from meshproxy.agent.control_plane.debug_pages import DebugPages
from meshproxy.agent.control_plane.xds_relay import Use, XdsRelay
from meshproxy.agent.figures import Figures
from meshproxy.agent.http import serve
from meshproxy.agent.identity.identity import Identity
from meshproxy.agent.istio_messages import NAME_TABLE_TYPE, PROXY_CONFIG_TYPE, ProxyConfigMessage
from meshproxy.agent.names.names import Names
from meshproxy.agent.readiness import ReadinessProbe
from meshproxy.agent.settings import AgentSettings, parse_flag, parse_port, relay_socket
from meshproxy.agent.variables import read_variable
from meshproxy.plugin.context import Logger

_DEBUG_PORT = "15004"


class Discovery:
    """Does nothing without a control plane."""

    def __init__(
        self,
        settings: AgentSettings,
        identity: Identity,
        names: Names,
        readiness: ReadinessProbe,
        figures: Figures,
        log: Logger,
    ) -> None:
        """Raises ConfigError."""
        self._settings = settings
        self._identity = identity
        self._readiness = readiness
        self._log = log
        variables = settings.variables
        debug = read_variable(variables, "PROXY_XDS_DEBUG_VIA_AGENT", "true", parse_flag)
        port = read_variable(variables, "PROXY_XDS_DEBUG_VIA_AGENT_PORT", _DEBUG_PORT, parse_port)
        self._debug_port = port if debug else 0
        uses: dict[str, Use] = {}
        if settings.dns_capture:
            uses[NAME_TABLE_TYPE] = names.take
        if read_variable(variables, "PROXY_CONFIG_XDS_AGENT", "false", parse_flag):
            uses[PROXY_CONFIG_TYPE] = self._trust
        self._control_plane = ControlPlane(settings, identity)
        self.relay = XdsRelay(self._control_plane, uses, figures, log)
        self._debug: asyncio.Server | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises OSError when the socket for the proxy can't be had."""
        settings = self._settings
        if not settings.discovery_address:
            return
        await self.relay.start(relay_socket(settings), 0o600 if settings.with_proxy else 0o666)
        if settings.health is not None:
            watching = watch_health(settings.health, self._why_not_ready, settings.ip, self._report)
            self._watching = asyncio.ensure_future(watching)
        if self._debug_port:
            try:
                self._debug = await serve(
                    "127.0.0.1", self._debug_port, DebugPages(settings, self._control_plane).handle
                )
            except OSError as error:
                self._log.warning("the control plane can't be asked by way of the agent", error=str(error))

    def _trust(self, resources: Sequence[bytes]) -> None:
        roots = [root for entry in resources for root in ProxyConfigMessage.FromString(entry).ca_certificates_pem]
        self._identity.known_secrets.trust("".join(f"{root.strip()}\n" for root in roots).encode())

    async def _why_not_ready(self) -> str:
        found = await self._readiness.check()
        return "" if found.ready else found.text().strip()

    def _report(self, problem: str) -> None:
        self._log.info("the application's health", problem=problem or "none")
        self.relay.report_health(HEALTH_TYPE, problem)

    def close(self) -> None:
        self.relay.close()
        if self._watching is not None:
            self._watching.cancel()
        if self._debug is not None:
            self._debug.close()
