"""The environment of a pod, as the injector writes it, becomes settings and a bootstrap."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshproxy.agent.bootstrap import make_bootstrap
from meshproxy.agent.settings import parse_duration, read_settings
from meshproxy.config.text.bootstrap_load import Source
from meshproxy.errors import ConfigError
from meshproxy.runtime.process.configuration import load_configuration

POD = {
    "POD_NAME": "web-1",
    "POD_NAMESPACE": "shop",
    "INSTANCE_IP": "10.0.0.5",
    "SERVICE_ACCOUNT": "web",
    "TRUST_DOMAIN": "mesh.test",
    "ISTIO_META_WORKLOAD_NAME": "web",
    "ISTIO_META_CLUSTER_ID": "east",
    "ISTIO_METAJSON_LABELS": '{"app": "web"}',
    "ISTIO_META_DNS_CAPTURE": "true",
    "PROXY_CONFIG": json.dumps(
        {
            "discoveryAddress": "istiod.istio-system.svc:15012",
            "concurrency": 2,
            "terminationDrainDuration": "1m30s",
            "proxyMetadata": {"MINIMUM_DRAIN_DURATION": "7s", "POD_NAME": "ignored"},
            "tracing": {"zipkin": {"address": "zipkin.istio-system:9411"}},
        }
    ),
}


def test_identity_is_what_istiod_takes_apart() -> None:
    settings = read_settings(POD)
    assert settings.node_id == "sidecar~10.0.0.5~web-1.shop~shop.svc.cluster.local"
    assert settings.spiffe_id == "spiffe://mesh.test/ns/shop/sa/web"
    assert settings.service_cluster == "web.shop"
    assert settings.metadata["LABELS"] == {"app": "web"}
    assert settings.metadata["CLUSTER_ID"] == settings.cluster_id == "east"
    assert settings.metadata["INSTANCE_IPS"] == "10.0.0.5"
    assert settings.metadata["PROXY_CONFIG"]["concurrency"] == 2


def test_the_environment_wins_over_proxy_metadata() -> None:
    settings = read_settings(POD)
    assert settings.pod_name == "web-1"
    assert settings.drain.minimum == 7.0
    assert settings.drain.termination == 90.0
    assert settings.concurrency == 2
    assert settings.dns_capture


def test_every_problem_is_named_at_once() -> None:
    wrong = {
        "PROXY_CONFIG": '{"drainDuration": "soon", "statusPort": 99999}',
        "ISTIO_META_DNS_CAPTURE": "perhaps",
        "ISTIO_METAJSON_LABELS": "{",
    }
    with pytest.raises(ConfigError) as caught:
        read_settings(wrong)
    assert [problem.path for problem in caught.value.problems] == [
        "PROXY_CONFIG.statusPort",
        "PROXY_CONFIG.drainDuration",
        "ISTIO_METAJSON_LABELS",
        "ISTIO_META_DNS_CAPTURE",
    ]


@pytest.mark.parametrize("text", ["[1]", "{", "{a: {", "!!python/object:os.system x"])
def test_a_proxy_config_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="PROXY_CONFIG"):
        read_settings({"PROXY_CONFIG": text})


def test_what_means_nothing_here_is_said() -> None:
    settings = read_settings({"PROXY_CONFIG": '{"privateKeyProvider": {}, "image": {}}'})
    assert settings.warnings == ["PROXY_CONFIG.privateKeyProvider means nothing to meshproxy"]


@pytest.mark.parametrize(
    ("variable", "value", "heeded"),
    [
        ("CA_PROVIDER", "Citadel", True),
        ("CA_PROVIDER", "GoogleCAS", False),
        ("PILOT_CERT_PROVIDER", "istiod", True),
        ("PILOT_CERT_PROVIDER", "kubernetes", True),
        ("DISABLE_ENVOY", "true", True),
        ("ISTIO_DUAL_STACK", "true", True),
        ("PROV_CERT", "/etc/certs", True),
    ],
)
def test_variables_of_istio_that_are_not_heeded_are_named(variable: str, value: str, heeded: bool) -> None:
    warnings = read_settings({variable: value}).warnings
    assert len(warnings) == (not heeded)
    assert all(warning.startswith(f"{variable}={value} is not heeded: ") for warning in warnings)
    through_metadata = read_settings({"PROXY_CONFIG": json.dumps({"proxyMetadata": {variable: value}})})
    assert through_metadata.warnings == warnings


@pytest.mark.parametrize(("value", "kind"), [("", "DELTA_GRPC"), ("true", "DELTA_GRPC"), ("false", "GRPC")])
def test_the_protocol_towards_the_control_plane(value: str, kind: str) -> None:
    proxy = json.dumps({"discoveryAddress": "istiod:15010"})
    bootstrap = make_bootstrap(read_settings({"PROXY_CONFIG": proxy, "ISTIO_DELTA_XDS": value}))
    assert bootstrap["dynamic_resources"]["ads_config"]["api_type"] == kind


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45.0), ("1m30s", 90.0), ("500ms", 0.5), ("1.5h", 5400.0), ("0s", 0.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5sx", "٥s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def names(bootstrap: dict[str, Any], kind: str) -> list[str]:
    return [entry["name"] for entry in bootstrap["static_resources"][kind]]


def test_a_custom_file_keeps_what_it_has_and_gets_the_rest() -> None:
    custom: dict[str, Any] = {
        "node": {"id": "mine"},
        "static_resources": {"listeners": [{"name": "agent"}], "clusters": [{"name": "app"}]},
    }
    bootstrap = make_bootstrap(
        read_settings({"POD_NAME": "web-1", "PROXY_CONFIG": '{"customConfigFile": "own.yaml"}'}), custom
    )
    assert "id" not in bootstrap["node"]
    assert bootstrap["node"]["metadata"]["NAME"] == "web-1"
    assert names(bootstrap, "listeners") == ["stats"]
    assert names(bootstrap, "clusters") == ["prometheus_stats", "agent"]
    assert "dynamic_resources" not in bootstrap
    assert custom["static_resources"]["clusters"] == [{"name": "app"}]


@pytest.mark.parametrize(
    ("variables", "addresses"),
    [
        ({"INSTANCE_IP": "10.0.0.5"}, ["0.0.0.0"]),
        ({"INSTANCE_IP": "fd00::5"}, ["::"]),
        ({"INSTANCE_IP": "10.0.0.5", "ISTIO_DUAL_STACK": "true"}, ["0.0.0.0", "::"]),
        ({"INSTANCE_IP": "fd00::5", "ISTIO_DUAL_STACK": "true"}, ["::", "0.0.0.0"]),
    ],
)
def test_the_families_of_its_listeners(variables: dict[str, str], addresses: list[str]) -> None:
    for listener in make_bootstrap(read_settings(variables))["static_resources"]["listeners"]:
        entries = [listener, *listener.get("additional_addresses", ())]
        assert [entry["address"]["socket_address"]["address"] for entry in entries] == addresses


def test_the_bootstrap_without_a_control_plane_can_be_loaded() -> None:
    bootstrap = make_bootstrap(
        read_settings({"PROXY_CONFIG": '{"customConfigFile": "own.yaml", "runtimeValues": {"a.b": "1"}}'})
    )
    configuration = load_configuration([Source("envoy-rev.json", json.dumps(bootstrap), json=True)])
    assert {listener.name for listener in configuration.snapshot.listeners} == {"stats", "agent"}
    assert configuration.snapshot.node.id.startswith("sidecar~127.0.0.1~meshproxy.default~")


def test_discovery_goes_by_way_of_the_agent() -> None:
    bootstrap = make_bootstrap(read_settings(POD))
    assert bootstrap["dynamic_resources"]["ads_config"]["api_type"] == "DELTA_GRPC"
    clusters = {cluster["name"]: cluster for cluster in bootstrap["static_resources"]["clusters"]}
    assert set(clusters) == {"prometheus_stats", "agent", "zipkin", "xds-grpc"}
    endpoint = clusters["xds-grpc"]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint == {"address": {"pipe": {"path": "etc/istio/proxy/XDS"}}}


def test_a_readiness_probe_for_the_control_plane() -> None:
    config = {"readinessProbe": {"httpGet": {"port": 80, "path": "/up"}, "periodSeconds": 2, "failureThreshold": 5}}
    health = read_settings({"PROXY_CONFIG": json.dumps(config)}).health
    assert health is not None
    assert (health.period, health.failures, health.successes, health.timeout) == (2, 5, 1, 1)
    assert health.prober is not None
    assert (health.prober.port, health.prober.path) == (80, "/up")
    for bad in ({"httpGet": {"port": "http"}}, {"exec": 1}, {"tcpSocket": {"port": 1}, "periodSeconds": -1}):
        with pytest.raises(ConfigError, match="readinessProbe"):
            read_settings({"PROXY_CONFIG": json.dumps({"readinessProbe": bad})})


INJECTED = {
    "PILOT_CERT_PROVIDER": "istiod",
    "CA_ADDR": "istiod.istio-system.svc:15012",
    "POD_NAME": "web-7d4-x",
    "POD_NAMESPACE": "shop",
    "INSTANCE_IP": "10.1.2.3",
    "SERVICE_ACCOUNT": "web",
    "HOST_IP": "10.0.0.1",
    "ISTIO_CPU_LIMIT": "2",
    "PROXY_CONFIG": "{}\n",
    "ISTIO_META_POD_PORTS": '[\n    {"containerPort":8080,"protocol":"TCP"}\n]',
    "ISTIO_META_APP_CONTAINERS": "web",
    "GOMEMLIMIT": "1073741824",
    "GOMAXPROCS": "2",
    "ISTIO_META_CLUSTER_ID": "Kubernetes",
    "ISTIO_META_NODE_NAME": "node-1",
    "ISTIO_META_INTERCEPTION_MODE": "REDIRECT",
    "ISTIO_META_WORKLOAD_NAME": "web",
    "ISTIO_META_OWNER": "kubernetes://apis/apps/v1/namespaces/shop/deployments/web",
    "ISTIO_META_MESH_ID": "cluster.local",
    "TRUST_DOMAIN": "cluster.local",
    "ISTIO_KUBE_APP_PROBERS": '{"/app-health/web/readyz":{"httpGet":{"path":"/ready","port":8080,"scheme":"HTTP"}}}',
}
"""The sidecar's environment of a default installation, as the injection template of Istio 1.22 to 1.27 has it."""


def test_an_injected_pod_finds_its_control_plane() -> None:
    """Of `PROXY_CONFIG` the injector leaves out what is Istio's default, the control plane's address too."""
    settings = read_settings(INJECTED, domain="shop.svc.cluster.local")
    assert settings.discovery_address == "istiod.istio-system.svc:15012"
    assert settings.node_id == "sidecar~10.1.2.3~web-7d4-x.shop~shop.svc.cluster.local"
    assert (settings.service_cluster, settings.spiffe_id) == ("web.shop", "spiffe://cluster.local/ns/shop/sa/web")
    assert not settings.warnings
    assert read_settings({"PROXY_CONFIG": '{"customConfigFile": "/etc/own.yaml"}'}).discovery_address == ""


def test_a_waypoint_is_told_its_cluster_by_a_flag() -> None:
    """`--serviceCluster`, as the template of waypoints has it."""
    settings = read_settings(INJECTED, role="waypoint", service_cluster="waypoint.shop")
    assert make_bootstrap(settings)["node"]["cluster"] == "waypoint.shop"


def test_what_istio_has_in_every_bootstrap() -> None:
    bootstrap = make_bootstrap(read_settings({"PROXY_CONFIG": '{"runtimeValues": {"a.b": "1"}}'}))
    configuration = load_configuration([Source("envoy-rev.json", json.dumps(bootstrap), json=True)])
    runtime = configuration.snapshot.runtime
    assert runtime.get("envoy.reloadable_features.http_reject_path_with_fragment", True) is False
    assert runtime.get("a.b", None) is not None
    assert [entry["name"] for entry in bootstrap["bootstrap_extensions"]] == ["envoy.bootstrap.internal_listener"]
