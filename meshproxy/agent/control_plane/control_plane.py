"""The way to the control plane: whose name it must prove, what we show for ourselves, and what every call brings along.

    PROXY_CONFIG discoveryAddress   host and port (15012), `unix:` and a path, or a path
    CONTROL_PLANE_AUTH=NONE, :15010 without TLS
    XDS_ROOT_CA, PILOT_CERT_PROVIDER  what its certificate is verified against; else the root of our own certificate
    ISTIOD_SAN                        its name, where that isn't the host's
    JWT_PATH                          the token of the service account, read anew for each connection
    XDS_HEADER_*                      further metadata of calls
    GRPC_KEEPALIVE_INTERVAL, _TIMEOUT when it is asked whether it is there, and when it counts as gone

The workload's certificate is shown as well, once there is one: whoever verifies only one of both finds it.
"""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

from meshproxy.agent.grpc.grpc_channel import Channel
from meshproxy.agent.identity.certificates import read_root, token_path
from meshproxy.agent.identity.identity import Identity
from meshproxy.agent.settings import AgentSettings, parse_duration
from meshproxy.agent.variables import read_variable

_HEADER = "XDS_HEADER_"
_PLAIN_PORT = "15010"


class ControlPlane:
    """Connects as often as it is asked to."""

    def __init__(self, settings: AgentSettings, identity: Identity) -> None:
        """Raises ConfigError."""
        self._settings = settings
        self._identity = identity
        address = settings.discovery_address
        self._path = address.removeprefix("unix:") if address.startswith(("unix:", "/", ".")) else ""
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), port or "15012"
        self._keep_alive = (
            read_variable(settings.variables, "GRPC_KEEPALIVE_INTERVAL", "30s", parse_duration),
            read_variable(settings.variables, "GRPC_KEEPALIVE_TIMEOUT", "10s", parse_duration),
        )

    @property
    def server_name(self) -> str:
        named = self._settings.variables.get("ISTIOD_SAN", "")
        return named or ("istiod.istio-system.svc" if self._host == "localhost" else self._host)

    async def connect(self) -> Channel:
        """Raises GrpcError, OSError (an `ssl.SSLError` is one)."""
        if self._path:
            return await Channel.connect(self._path, 0)
        return await Channel.connect(
            self._host, int(self._port), tls=self._tls(), server_name=self.server_name, keep_alive=self._keep_alive
        )

    def _tls(self) -> ssl.SSLContext | None:
        plain = self._settings.variables.get("CONTROL_PLANE_AUTH", "MUTUAL_TLS") == "NONE"
        if plain or self._port == _PLAIN_PORT:
            return None
        own = Path(self._settings.certificate_directory)
        certified = self._identity.is_ours and self._identity.certificates.current is not None
        root = read_root(self._settings, "XDS_ROOT_CA", own / "root-cert.pem" if certified else None)
        context = ssl.create_default_context(cafile=str(root) if root is not None else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        if certified:
            context.load_cert_chain(own / "cert-chain.pem", own / "key.pem")
        return context

    def metadata(self) -> list[tuple[str, str]]:
        """What a call brings along. Read anew each time: tokens are renewed."""
        found = [("clusterid", self._settings.cluster_id)]
        for name, value in self._settings.variables.items():
            if name.startswith(_HEADER) and name != _HEADER:
                found.append((name.removeprefix(_HEADER).lower(), value))
        with contextlib.suppress(OSError, UnicodeDecodeError):
            token = token_path(self._settings).read_text("ascii").strip()
            if token and not self._path:
                found.append(("authorization", f"Bearer {token}"))
        return found
