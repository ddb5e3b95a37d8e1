"""Who the workload is: its certificate, kept current, and handed to the proxy.

Three ways, in this order: files that somebody mounts and renews; a foreign server on the workload's socket (SPIRE),
which then is asked by the proxy itself; the mesh's certificate authority. Without any of them there are no secrets, as
with a plain-text control plane or none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

from meshproxy.agent.figures import Figures
from meshproxy.agent.grpc.grpc_server import GrpcServer, serve_grpc
from meshproxy.agent.identity.certificates import Certificates, mounted_certificates, read_authority
from meshproxy.agent.identity.sds import SOCKET, SecretService
from meshproxy.agent.identity.secrets import Secrets
from meshproxy.agent.settings import AgentSettings, parse_flag
from meshproxy.errors import ConfigError, Problem
from meshproxy.plugin.context import Logger


class Identity:
    """The credentials of one workload. `secrets`: the socket that the proxy gets them from, "" if there are none."""

    def __init__(self, settings: AgentSettings, log: Logger, figures: Figures) -> None:
        """Raises ConfigError."""
        self._settings = settings
        self._log = log
        self._mounted = mounted_certificates(settings)
        self._foreign = self._mounted is None and _is_served(SOCKET)
        if parse_flag(settings.variables.get("USE_EXTERNAL_WORKLOAD_SDS", "")) and not self._foreign:
            raise ConfigError(Problem("USE_EXTERNAL_WORKLOAD_SDS", f"nobody serves secrets on {SOCKET}", "environment"))
        asks = self._mounted is None and not self._foreign
        self._authority = read_authority(settings) if asks else None
        self.certificates = Certificates(Path(settings.certificate_directory), log, figures)
        self.secrets = SOCKET if self._foreign or self.is_ours else ""
        self.known_secrets = Secrets(self.certificates)
        self._tasks: list[asyncio.Task[None]] = []
        self._server: GrpcServer | None = None

    @property
    def is_ours(self) -> bool:
        """Whether the agent itself holds the credentials."""
        return self._mounted is not None or self._authority is not None

    @property
    def missing(self) -> str:
        """Why there is no certificate yet; "" if there is one, or none is needed."""
        if not self.is_ours or self.certificates.current is not None:
            return ""
        return f"no certificate: {self.certificates.problem}"

    async def start(self) -> None:
        """Begin to keep the certificate current and to serve it. Raises OSError."""
        if not self.is_ours:
            return
        os.makedirs(os.path.dirname(SOCKET), exist_ok=True)
        self._server = await serve_grpc(SOCKET, SecretService(self.known_secrets).handlers)
        if self._mounted is not None:
            keeping = self.certificates.follow_files(self._mounted)
        else:
            assert self._authority is not None
            keeping = self.certificates.keep_renewed(
                self._authority, self._settings.spiffe_id, self._settings.cluster_id
            )
        self._tasks.append(asyncio.ensure_future(keeping))

    def close(self) -> None:
        self.known_secrets.close()
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(OSError):
                os.unlink(SOCKET)


def _is_served(path: str) -> bool:
    """Whether somebody answers on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
        except OSError:
            return False
    return True
