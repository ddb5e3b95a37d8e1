"""What gRPC without a proxy is told (`GRPC_XDS_BOOTSTRAP`): where its configuration comes from, and who it is.

The file's form is that of gRPC's xDS bootstrap (gRFC A27, A29, A36), its content that of Istio's: the agent is the
management server, and the workload's certificate is watched as files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from meshproxy.agent.settings import AgentSettings, relay_socket

_LISTENERS = "xds.istio.io/grpc/lds/inbound/%s"
_REFRESH = "900s"


def grpc_bootstrap(settings: AgentSettings) -> dict[str, Any]:
    """The tree of the file."""
    certificates = Path(settings.certificate_directory).absolute()
    watched = {
        "certificate_file": str(certificates / "cert-chain.pem"),
        "private_key_file": str(certificates / "key.pem"),
        "ca_certificate_file": str(certificates / "root-cert.pem"),
        "refresh_interval": _REFRESH,
    }
    return {
        "xds_servers": [
            {
                "server_uri": f"unix://{relay_socket(settings).absolute()}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {
            "id": settings.node_id,
            "metadata": {**settings.metadata, "GENERATOR": "grpc"},
            "locality": {},
        },
        "certificate_providers": {"default": {"plugin_name": "file_watcher", "config": watched}},
        "server_listener_resource_name_template": _LISTENERS,
    }


def write_grpc_bootstrap(settings: AgentSettings) -> None:
    """Raises OSError."""
    path = Path(settings.grpc_bootstrap)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(grpc_bootstrap(settings), indent=1))
