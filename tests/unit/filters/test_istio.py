"""What only Istio's own build of Envoy has: its metrics and the exchange of metadata."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.model.snapshot import Node
from meshproxy.plugin.stats import tagged_name
from meshproxy.plugin.stream_info import TlsInfo
from meshproxy.telemetry.prometheus import render_prometheus
from meshproxy.telemetry.tags import TagProducer
from meshproxy.testing import FilterHarness, NetworkHarness
from meshproxy.testing.stream import HarnessStream
from meshproxy_filters.http.istio_stats import IstioStats
from meshproxy_filters.http.peer_metadata import PeerMetadata
from meshproxy_filters.network.echo import Echo
from meshproxy_filters.network.istio_stats import IstioTcpStats
from meshproxy_filters.network.metadata_exchange import MetadataExchange

NODE = Node(
    metadata={
        "WORKLOAD_NAME": "web",
        "NAMESPACE": "shop",
        "CLUSTER_ID": "k1",
        "ISTIO_VERSION": "1.29.6",
        "LABELS": {"app": "web-app", "version": "v2", "service.istio.io/canonical-name": "web-svc"},
    }
)
SERVICES = {"istio": {"services": [{"host": "b.ns.svc.cluster.local", "name": "b", "namespace": "ns"}]}}


def prometheus(harness: FilterHarness | NetworkHarness) -> dict[str, dict[str, str]]:
    """The lines of Istio's metrics by "name value", with their labels."""
    lines = {}
    harness._store.latch()
    for line in render_prometheus(harness._store.snapshot(), TagProducer()).splitlines():
        if line.startswith("istio_"):
            name, _, rest = line.partition("{")
            labels, _, value = rest.rpartition("} ")
            pairs = (part.split('="') for part in labels.split(","))
            lines[f"{name} {value}"] = {key: text[:-1] for key, text in pairs}
    return lines


def told(config: dict[str, Any] | None = None, prepare: Any = None, **request: Any) -> dict[str, dict[str, str]]:
    harness = FilterHarness(IstioStats, config or {}, node=NODE)
    harness.request(prepare=prepare, **request)
    return prometheus(harness)


def upstream(stream: HarnessStream) -> None:
    stream.upstream_cluster = "outbound|80||b.ns.svc.cluster.local"
    stream.upstream_cluster_metadata = SERVICES
    stream.upstream_host_metadata = {"istio": {"workload": "b-v1;ns;b-svc;v1;k2"}}


def test_a_request_told_by_the_caller() -> None:
    lines = told(prepare=upstream)
    assert lines["istio_requests_total 1"] == {
        "reporter": "source",
        "source_workload": "web",
        "source_canonical_service": "web-svc",
        "source_canonical_revision": "",
        "source_workload_namespace": "shop",
        "source_principal": "unknown",
        "source_app": "web-app",
        "source_version": "v2",
        "source_cluster": "k1",
        "destination_workload": "b-v1",
        "destination_workload_namespace": "ns",
        "destination_principal": "unknown",
        "destination_app": "unknown",
        "destination_version": "unknown",
        "destination_service": "b.ns.svc.cluster.local",
        "destination_canonical_service": "b-svc",
        "destination_canonical_revision": "v1",
        "destination_service_name": "b",
        "destination_service_namespace": "ns",
        "destination_cluster": "k2",
        "request_protocol": "http",
        "response_code": "200",
        "grpc_response_status": "",
        "response_flags": "-",
        "connection_security_policy": "unknown",
    }
    assert lines["istio_build 1"] == {"component": "proxy", "tag": "1.29.6"}
    assert "istio_request_duration_milliseconds_count 1" in lines
    assert "istio_request_bytes_count 1" in lines
    assert "istio_response_bytes_count 1" in lines


def test_a_request_told_by_the_called_one() -> None:
    def over_tls(stream: HarnessStream) -> None:
        tls = TlsInfo()
        tls.peer_uri_sans = ("spiffe://cluster.local/ns/clients/sa/a",)
        tls.local_uri_sans = ("spiffe://cluster.local/ns/shop/sa/web",)
        stream.connection.tls = tls

    harness = FilterHarness(IstioStats, {}, node=NODE, traffic_direction="INBOUND")
    harness.request(prepare=over_tls, authority="web.test")
    labels = prometheus(harness)["istio_requests_total 1"]
    assert (labels["reporter"], labels["connection_security_policy"]) == ("destination", "mutual_tls")
    assert labels["source_principal"] == "spiffe://cluster.local/ns/clients/sa/a"
    assert labels["source_workload_namespace"] == "clients"
    assert labels["destination_principal"] == "spiffe://cluster.local/ns/shop/sa/web"
    assert (labels["destination_service"], labels["destination_workload"]) == ("web.test", "web")


def test_the_same_labels_are_the_same_metric() -> None:
    harness = FilterHarness(IstioStats, {}, node=NODE)
    for _ in range(3):
        harness.request()
    assert "istio_requests_total 3" in prometheus(harness)


def test_a_host_is_no_service_where_it_may_not_be() -> None:
    assert told(authority="x.test")["istio_requests_total 1"]["destination_service"] == "x.test"
    config = {"disable_host_header_fallback": True}
    assert told(config, authority="x.test")["istio_requests_total 1"]["destination_service"] == "unknown"


def test_hosts_of_clients_cant_fill_the_memory() -> None:
    harness = FilterHarness(IstioStats, {}, node=NODE)
    for number in range(4200):
        harness.request(authority=f"h{number}.test")
    lines = [name for name in harness.stats if "istio_requests_total" in name]
    assert len(lines) == 4097


def test_a_value_cant_forge_labels() -> None:
    labels = told(authority='a;.;reporter=.=x;.;"')["istio_requests_total 1"]
    assert labels["reporter"] == "source"


def test_grpc_is_told_by_its_status() -> None:
    harness = FilterHarness(IstioStats, {}, node=NODE)
    harness.upstream.returns(200, {"content-type": "application/grpc"}, trailers={"grpc-status": "7"})
    harness.request("POST", headers={"content-type": "application/grpc"}, body=b"x")
    labels = prometheus(harness)["istio_requests_total 1"]
    assert (labels["request_protocol"], labels["grpc_response_status"]) == ("grpc", "7")


def test_labels_and_metrics_can_be_left_out() -> None:
    config = {
        "metrics": [
            {"tags_to_remove": ["source_app"]},
            {"name": "requests_total", "tags_to_remove": ["source_version"]},
            {"name": "request_bytes", "drop": True},
        ]
    }
    lines = told(config)
    assert not {"source_app", "source_version"} & set(lines["istio_requests_total 1"])
    assert "source_version" in lines["istio_response_bytes_count 1"]
    assert "istio_request_bytes_count 1" not in lines


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"metrics": [{"name": "nonsense"}]}, "nonsense"),
        ({"definitions": [{"name": "a", "value": "1"}]}, "Python filter"),
        ({"reporter": "SERVER_GATEWAY"}, "waypoint"),
    ],
)
def test_what_cant_be_told_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        told(config)


def test_statistics_begin_anew_after_a_rotation() -> None:
    config = {"rotation_interval": "60s", "graceful_deletion_interval": "10s"}
    harness = FilterHarness(IstioStats, config, node=NODE)
    harness.request(authority="old.test")
    harness.clock.advance(61)
    harness.request(authority="new.test")
    assert len([name for name in harness.stats if "istio_requests_total" in name]) == 2
    harness.clock.advance(11)
    harness.request(authority="new.test")
    names = [name for name in harness.stats if "istio_requests_total" in name]
    assert len(names) == 1
    assert "new.test" in names[0]


def test_a_connection_is_told_when_it_is_over() -> None:
    harness = NetworkHarness(Echo, {}, before=[(IstioTcpStats, {})], node=NODE)
    client = harness.connect().send(b"hello")
    assert "istio_tcp_connections_opened_total 1" not in prometheus(harness)
    client.connection.stream.bytes_received, client.connection.stream.bytes_sent = 5, 7
    client.leave()
    lines = prometheus(harness)
    assert lines["istio_tcp_received_bytes_total 5"]["request_protocol"] == "tcp"
    assert "response_code" not in lines["istio_tcp_sent_bytes_total 7"]
    assert "istio_tcp_connections_closed_total 1" in lines


def test_names_that_say_their_tags() -> None:
    name = tagged_name("istiocustom.istio_x", [("a_b", "c.d=e"), ("f", "")])
    assert TagProducer().split(name) == ("istiocustom.istio_x", (("a_b", "c.d=e"), ("f", "")))


def exchanging(alpn: str = "istio-peer-exchange") -> Any:
    config = {"protocol": "istio-peer-exchange"}
    harness = NetworkHarness(Echo, {}, before=[(MetadataExchange, config)])
    return harness.connect(alpn=alpn)


TOLD = bytes.fromhex("3d230467") + (3).to_bytes(4, "big") + b"abc"
NOTHING = bytes.fromhex("3d230467") + bytes(4)


@pytest.mark.parametrize("step", [1, 3, 100])
def test_what_a_peer_says_of_itself_doesnt_reach_the_application(step: int) -> None:
    client = exchanging()
    data = TOLD + b"hello"
    for at in range(0, len(data), step):
        client.send(data[at : at + step])
    assert client.received == NOTHING + b"hello"


def test_a_peer_that_says_nothing_is_served_all_the_same() -> None:
    assert exchanging().send(b"hello").received == NOTHING + b"hello"
    assert exchanging("h2").send(TOLD).received == TOLD


def test_a_peer_cant_say_too_much() -> None:
    assert exchanging().send(bytes.fromhex("3d2304677fffffff")).closed == "reset"


def test_peer_metadata_of_requests_is_accepted() -> None:
    harness = FilterHarness(PeerMetadata, {"downstream_discovery": [{"istio_headers": {}}]}, name="io")
    assert harness.request().reached_upstream
