"""`/config_dump`: its parts, what of it can be asked for, and that no secret stands in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from meshproxy.config.text.bootstrap_load import Source, load_bootstrap
from meshproxy.runtime.admin.config_dump import BadRequest, ConfigDump

CONFIG = """
node: {id: node, metadata: {APP: shop, API_TOKEN: hidden-1, nested: {db_password: hidden-2, size: 3}}}
static_resources:
  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: 80}}
    default_filter_chain:
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: {inline_string: shown-chain}
              private_key: {inline_string: hidden-3}
              password: {inline_string: hidden-4}
      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config:
            name: routes
            virtual_hosts:
            - name: all
              domains: ["*"]
              request_headers_to_add:
              - {header: {key: Authorization, value: hidden-5}}
              - {header: {key: x-shown, value: shown-value}}
              routes: [{match: {prefix: /}, route: {cluster: up}}]
          http_filters:
          - name: gate
            typed_config:
              "@type": type.googleapis.com/xds.type.v3.TypedStruct
              type_url: type.googleapis.com/gate.Config
              value: {secret: hidden-6, header: x-gate, keys: [{api_key: hidden-7}]}
  clusters:
  - {name: up, connect_timeout: 1s}
  - {name: other, connect_timeout: 2s}
  secrets:
  - name: key
    tls_certificate: {private_key: {inline_bytes: aGlkZGVuLTg=}, certificate_chain: {filename: /shown.pem}}
  - name: ticket
    session_ticket_keys: {keys: [{inline_string: hidden-9}]}
  - name: generic
    generic_secret: {secret: {inline_string: hidden-0}}
"""


def everything(name: str) -> bool:
    return True


@pytest.fixture(scope="module")
def message() -> Message:
    return load_bootstrap([Source("x.yaml", CONFIG)]).message


@pytest.fixture
def dump(message: Message) -> ConfigDump:
    return ConfigDump(message, 1_700_000_000.25)


def test_parts_in_order(dump: ConfigDump) -> None:
    shown = dump.select("", "", everything)
    assert [entry["@type"].rpartition(".")[2] for entry in shown["configs"]] == [
        "BootstrapConfigDump",
        "ClustersConfigDump",
        "ListenersConfigDump",
        "ScopedRoutesConfigDump",
        "RoutesConfigDump",
        "SecretsConfigDump",
    ]
    cluster = shown["configs"][1]["static_clusters"][0]
    assert cluster["last_updated"] == "2023-11-14T22:13:20.250Z"
    assert cluster["cluster"]["@type"] == "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    assert shown["configs"][4]["static_route_configs"][0]["route_config"]["name"] == "routes"


def test_no_secret_is_shown_and_nothing_else_is_hidden(dump: ConfigDump, message: Message) -> None:
    text = json.dumps(dump.select("", "", everything))
    assert "hidden" not in text
    assert "aGlkZGVu" not in text
    assert "W3JlZGFjdGVkXQ==" in text  # bytes: "[redacted]" in base64
    for shown in ("shown-chain", "shown-value", "/shown.pem", "x-gate", "shop", '"size": 3'):
        assert shown in text
    assert "hidden-3" in str(message), "the configuration itself must stay as it is"


def test_one_resource(dump: ConfigDump) -> None:
    shown = dump.select("static_clusters", "", everything)["configs"]
    assert [entry["cluster"]["name"] for entry in shown] == ["up", "other"]
    assert shown[0]["@type"] == "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.StaticCluster"
    assert dump.select("dynamic_listeners", "", everything) == {}


def test_masks(dump: ConfigDump) -> None:
    shown = dump.select("static_clusters", "cluster.name", everything)["configs"]
    assert shown[0] == {
        "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.StaticCluster",
        "cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "up"},
    }
    assert dump.select("", "bootstrap.node.id", everything) == {
        "configs": [
            {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"node": {"id": "node"}}}
        ]
    }


def test_names(dump: ConfigDump) -> None:
    shown = dump.select("", "", lambda name: name == "other")["configs"]
    assert [entry["cluster"]["name"] for entry in shown[1]["static_clusters"]] == ["other"]
    assert "static_listeners" not in shown[2]


@pytest.mark.parametrize(
    ("resource", "mask", "status", "text"),
    [
        ("nonsense", "", 404, "nonsense not found in config dump"),
        ("bootstrap", "", 400, "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field"),
        ("", "nope", 400, "FieldMask nope could not be successfully applied to any configs."),
        (
            "",
            "static_listeners.listener.name",
            400,
            "FieldMask static_listeners.listener.name could not be successfully applied to any configs.",
        ),
        ("static_clusters", "cluster.nope", 400, "FieldMask cluster.nope could not be successfully used."),
        ("static_endpoint_configs", "", 404, "static_endpoint_configs not found in config dump"),
    ],
)
def test_what_makes_no_sense(dump: ConfigDump, resource: str, mask: str, status: int, text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        dump.select(resource, mask, everything)
    assert (caught.value.status, str(caught.value)) == (status, text)


def test_endpoints_when_asked_for(message: Message) -> None:
    host: dict[str, Any] = {
        "address": "10.0.0.1:80", "path": False, "hostname": "h", "health_flags": "healthy", "weight": 3,
        "region": "r", "zone": "", "sub_zone": "", "priority": 1, "health": "DEGRADED", "locality_weight": 7,
        "health_check_port": 99, "metadata": {"envoy.lb": {"canary": True}},
    }  # fmt: skip
    status = {"name": "up", "service_name": "s", "overprovisioning_factor": 150, "hosts": [host]}
    dump = ConfigDump(message, 0.0, [status])
    select: Callable[..., dict[str, Any]] = dump.select
    (entry,) = select("static_endpoint_configs", "", everything)["configs"]
    (endpoints,) = entry["endpoint_config"]["endpoints"]
    assert entry["endpoint_config"]["cluster_name"] == "s"
    assert endpoints["locality"] == {"region": "r"}
    assert (endpoints["priority"], endpoints["load_balancing_weight"]) == (1, 7)
    assert endpoints["lb_endpoints"] == [
        {
            "endpoint": {
                "address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}},
                "health_check_config": {"port_value": 99},
                "hostname": "h",
            },
            "health_status": "DEGRADED",
            "metadata": {"filter_metadata": {"envoy.lb": {"canary": True}}},
            "load_balancing_weight": 3,
        }
    ]
    assert entry["endpoint_config"]["policy"] == {"overprovisioning_factor": 150}
