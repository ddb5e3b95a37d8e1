"""What only Istio's own build of Envoy has: its metrics and the exchange of metadata."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.model.snapshot import Node
from meshproxy.plugin.stats import tagged_name
from meshproxy.plugin.stream_info import TlsInfo
from meshproxy.plugin.workload import Peer, Workload
from meshproxy.telemetry.prometheus import render_prometheus
from meshproxy.telemetry.tags import TagProducer
from meshproxy.testing import FilterHarness, NetworkHarness
from meshproxy.testing.stream import HarnessStream
from meshproxy_filters.http.istio_stats import IstioStats
from meshproxy_filters.network.echo import Echo
from meshproxy_filters.network.istio_stats import IstioTcpStats

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
            name, _, value = line.rpartition(" ")
            name, _, labels = name.removesuffix("}").partition("{")
            pairs = [part.split('="') for part in labels.split(",")]
            lines[f"{name} {value}"] = {key: text[:-1] for key, text in pairs} if labels else {}
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


def test_names_that_nobody_knows_change_nothing() -> None:
    config = {
        "metrics": [
            {"name": "nonsense", "dimensions": {"x": "1"}},
            {"tags_to_remove": ["nonsense"]},
            {"name": "nothing", "drop": True},
        ],
        "definitions": [{"name": "requests_total", "value": "2"}],
    }
    assert told(config) == told()


def test_labels_are_replaced_and_added_by_expressions() -> None:
    config = {
        "metrics": [
            {"dimensions": {"source_app": "request.headers['x-app']", "zone": "'z' + string(response.code)"}},
            {"name": "requests_total", "dimensions": {"response_code": "'2xx'", "missing": "request.headers['none']"}},
            {"name": "request_bytes", "match": "true", "dimensions": {"source_version": "1 + 1"}},
        ]
    }
    lines = told(config, headers={"x-app": "cart"})
    labels = lines["istio_requests_total 1"]
    assert [labels[name] for name in ("source_app", "response_code", "zone", "missing")] == [
        *("cart", "2xx", "z200", "unknown")
    ]
    assert lines["istio_response_bytes_count 1"]["response_code"] == "200"
    assert "missing" not in lines["istio_response_bytes_count 1"]
    assert lines["istio_request_bytes_count 1"]["source_version"] == "2"


def test_streams_are_told_apart_by_expressions() -> None:
    harness = FilterHarness(IstioStats, {"metrics": [{"dimensions": {"path": "request.path"}}]}, node=NODE)
    for path in ("/a", "/b", "/a"):
        harness.request(path=path)
    assert {line: labels["path"] for line, labels in prometheus(harness).items() if "requests_total" in line} == {
        "istio_requests_total 2": "/a",
        "istio_requests_total 1": "/b",
    }


def test_what_is_no_expression_is_refused() -> None:
    with pytest.raises(ConfigError, match="position"):
        told({"metrics": [{"dimensions": {"a": "request.("}}]})
    with pytest.raises(ConfigError, match="nonsense"):
        told({"definitions": [{"name": "a", "value": "nonsense(1)"}]})


def test_metrics_of_ones_own() -> None:
    config = {
        "definitions": [
            {"name": "sizes", "value": "request.size", "type": "HISTOGRAM"},
            {"name": "posts", "value": "request.method == 'POST' ? 1 : 0", "type": "COUNTER"},
            {"name": "code", "value": "response.code", "type": "GAUGE"},
        ],
        "metrics": [{"name": "posts", "dimensions": {"method": "request.method", "reporter": "'me'"}}],
    }
    lines = told(config, method="POST", body=b"abc")
    assert lines["istio_posts 1"] == {"method": "POST", "reporter": "me"}
    assert lines["istio_code 200"] == {}
    assert "istio_sizes_count 1" in lines


def test_a_waypoint_tells_of_both_ends() -> None:
    def known(stream: HarnessStream) -> None:
        stream.set_filter_state("downstream_peer", Peer(Workload(workload="a", namespace="one")))
        stream.set_filter_state("upstream_peer", Peer(Workload(workload="b", namespace="two")))
        stream.upstream_cluster_metadata = SERVICES

    labels = told({"reporter": "SERVER_GATEWAY"}, prepare=known)["istio_requests_total 1"]
    assert (labels["reporter"], labels["source_workload"], labels["destination_workload"]) == ("waypoint", "a", "b")
    assert (labels["source_workload_namespace"], labels["destination_workload_namespace"]) == ("one", "two")
    assert labels["destination_service_namespace"] == "ns"


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
    harness.clock.advance(60)
    assert "istio_tcp_connections_opened_total 1" not in prometheus(harness)
    client.connection.stream.bytes_received, client.connection.stream.bytes_sent = 5, 7
    client.leave()
    lines = prometheus(harness)
    assert lines["istio_tcp_received_bytes_total 5"]["request_protocol"] == "tcp"
    assert "response_code" not in lines["istio_tcp_sent_bytes_total 7"]
    assert "istio_tcp_connections_closed_total 1" in lines


def test_a_connection_is_told_while_it_goes_on_once_its_peer_is_known() -> None:
    harness = NetworkHarness(Echo, {}, before=[(IstioTcpStats, {"tcp_reporting_duration": "2s"})], node=NODE)
    client = harness.connect()
    info = client.connection.stream
    harness.clock.advance(2.1)
    assert prometheus(harness).keys() == {"istio_build 1"}
    info.upstream_filter_state = {"upstream_peer": Peer(Workload(workload="db"))}
    for received in (5, 9, 9):
        info.bytes_received = received
        harness.clock.advance(2.1)
        lines = prometheus(harness)
        assert lines[f"istio_tcp_received_bytes_total {received}"]["destination_workload"] == "db"
        assert "istio_tcp_connections_opened_total 1" in lines
        assert "istio_tcp_connections_closed_total 1" not in lines
    client.leave()
    assert "istio_tcp_received_bytes_total 9" in prometheus(harness)
    assert "istio_tcp_connections_closed_total 1" in prometheus(harness)


def test_names_that_say_their_tags() -> None:
    name = tagged_name("istiocustom.istio_x", [("a_b", "c.d=e"), ("f", "")])
    assert TagProducer().split(name) == ("istiocustom.istio_x", (("a_b", "c.d=e"), ("f", "")))
