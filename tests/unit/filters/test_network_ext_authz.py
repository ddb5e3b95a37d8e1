"""The network filter ext_authz: what the service is told, and what becomes of its verdict."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.protobuf.json_format import ParseDict

from meshproxy.errors import ConfigError
from meshproxy.model.snapshot import Node
from meshproxy.testing import NetworkHarness
from meshproxy_filters.network.echo import Echo
from meshproxy_filters.network.ext_authz import ExtAuthz

SERVICE = {"envoy_grpc": {"cluster_name": "authz"}}


def authorised(answer: dict[str, Any] | None = None, **config: Any) -> NetworkHarness:
    config = {"stat_prefix": "a", "grpc_service": SERVICE, "transport_api_version": "V3", **config}
    node = Node("n", "c", metadata={"labels": {"app": "x", "count": 1}})
    harness = NetworkHarness(Echo, {}, before=[(ExtAuthz, config)], clusters=["authz"], node=node)
    message = ParseDict(answer or {}, CheckResponse())
    harness.cluster("authz").returns_grpc(message.SerializeToString())
    return harness


def test_an_allowed_connection_passes_with_the_bytes_that_waited() -> None:
    harness = authorised(bootstrap_metadata_labels_key="labels")
    connection = harness.connect()
    connection.send(b"hello")
    assert connection.received == b"hello"
    told = CheckRequest.FromString(harness.cluster("authz").requests[0].grpc_message).attributes
    assert dict(told.destination.labels) == {"app": "x"}
    connection.send(b" again")
    assert len(harness.cluster("authz").requests) == 1
    assert harness.stats["ext_authz.a.ok"] == 1
    assert "ext_authz.a.active" not in harness.stats


def test_a_denied_connection_is_closed() -> None:
    harness = authorised({"status": {"code": 7}, "dynamic_metadata": {"k": "v"}})
    connection = harness.connect()
    connection.send(b"hello")
    assert connection.closed == "close"
    assert connection.received == b""
    assert (harness.stats["ext_authz.a.denied"], harness.stats["ext_authz.a.cx_closed"]) == (1, 1)
    assert connection.connection.stream.flags == "UAEX"
    assert connection.connection.stream.dynamic_metadata == {"envoy.filters.network.ext_authz": {"k": "v"}}


@pytest.mark.parametrize("allowed", [True, False])
def test_a_service_that_fails(allowed: bool) -> None:
    harness = authorised(failure_mode_allow=allowed)
    harness.cluster("authz").returns_grpc(status=13)
    connection = harness.connect()
    connection.send(b"hello")
    assert (connection.received == b"hello", bool(connection.closed)) == (allowed, not allowed)
    assert harness.stats["ext_authz.a.error"] == 1


def test_alerts_are_refused() -> None:
    with pytest.raises(ConfigError, match="send_tls_alert_on_denial"):
        authorised(send_tls_alert_on_denial=True)
