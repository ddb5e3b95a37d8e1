"""Labels, annotations and the mesh's configuration: what stands in a pod's volumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshproxy.agent.bootstrap import make_bootstrap
from meshproxy.agent.local_addresses import local_addresses
from meshproxy.agent.pod_files import ANNOTATIONS, LABELS, MESH, PodFiles, parse_downward, read_pod_files
from meshproxy.agent.proxy_process import proxy_arguments
from meshproxy.agent.settings import AgentSettings, read_settings
from meshproxy.config.text.bootstrap_load import Source
from meshproxy.errors import ConfigError
from meshproxy.proxy import load_configuration
from meshproxy.runtime.admin.start import tag_producer
from meshproxy.runtime.process.options import Options


def annotated(variables: dict[str, str] | None = None, **annotations: str) -> AgentSettings:
    given = {f"sidecar.istio.io/{name}": value for name, value in annotations.items()}
    return read_settings(variables or {}, pod=PodFiles(annotations=given))


def test_lines_of_the_downward_api() -> None:
    text = 'app="web"\nkubernetes.io/config.seen="2026-01-01T00:00:00Z"\njson="{\\"a\\": 1}\\n\\u00e9"\nempty=""\n'
    assert parse_downward(text) == {
        "app": "web",
        "kubernetes.io/config.seen": "2026-01-01T00:00:00Z",
        "json": '{"a": 1}\né',
        "empty": "",
    }


@pytest.mark.parametrize("text", ["app", "app=web", 'app="web', "app=__import__('os')", 'a="b" + "c'])
def test_what_is_no_such_line(text: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        parse_downward(text)


def test_files_that_are_there_and_those_that_are_not(tmp_path: Path) -> None:
    assert read_pod_files(tmp_path) == PodFiles()
    for name, text in ((LABELS, 'app="web"'), (ANNOTATIONS, "x"), (MESH, "defaultConfig: {statusPort: 15120}")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    files = read_pod_files(tmp_path)
    assert files.labels == {"app": "web"}
    assert files.annotations is None
    assert files.default_config == {"statusPort": 15120}
    with pytest.raises(ConfigError, match="etc/istio/pod/annotations"):
        read_settings({}, pod=files)


def test_labels_and_annotations_go_into_the_nodes_metadata() -> None:
    settings = read_settings({"ISTIO_METAJSON_LABELS": '{"old": "1"}'}, pod=PodFiles({"app": "web"}, {"a": "b"}))
    assert settings.metadata["LABELS"] == {"app": "web"}
    assert settings.metadata["ANNOTATIONS"] == {"a": "b"}


def test_the_annotation_stands_above_the_environment_and_that_above_the_mesh() -> None:
    mesh = {"statusPort": 1, "proxyAdminPort": 1, "drainDuration": "1s", "proxyMetadata": {"A": "1", "B": "1"}}
    variables = {"PROXY_CONFIG": json.dumps({"statusPort": 2, "proxyAdminPort": 2, "proxyMetadata": {"A": "2"}})}
    annotation = {"proxy.istio.io/config": "statusPort: 3\nproxyMetadata: {C: '3'}"}
    settings = read_settings(variables, pod=PodFiles(annotations=annotation, default_config=mesh))
    assert (settings.ports.status, settings.ports.admin, settings.drain.duration) == (3, 2, 1.0)
    assert [settings.variables[name] for name in "ABC"] == ["2", "1", "3"]


def patterns(settings: AgentSettings) -> list[Any]:
    config = make_bootstrap(settings).get("stats_config", {})
    return [entry for entry in config["stats_matcher"]["inclusion_list"]["patterns"] if "istio" not in str(entry)][4:]


def test_which_statistics_are_included() -> None:
    matcher = {
        "PROXY_CONFIG": json.dumps({"proxyStatsMatcher": {"inclusionPrefixes": ["a"], "inclusionSuffixes": ["b"]}})
    }
    assert patterns(annotated(matcher)) == [{"prefix": "a"}, {"suffix": "b"}]
    chosen = annotated(matcher, statsInclusionPrefixes="c,d", statsInclusionRegexps="e.*")
    assert patterns(chosen) == [{"prefix": "c"}, {"prefix": "d"}, {"suffix": "b"}, {"safe_regex": {"regex": "e.*"}}]
    assert "stats_matcher" not in make_bootstrap(annotated())["stats_config"]


def test_the_buckets_of_histograms() -> None:
    bootstrap = make_bootstrap(annotated(statsHistogramBuckets='{"istio": [1, 5, 10]}'))
    assert bootstrap["stats_config"]["histogram_bucket_settings"] == [
        {"match": {"prefix": "istio"}, "buckets": [1.0, 5.0, 10.0]}
    ]
    load_configuration([Source("envoy-rev.json", json.dumps(bootstrap))])


@pytest.mark.parametrize(
    ("name", "apart"),
    [
        (
            "cluster.outbound|80|v1|web.shop.svc.cluster.local;.upstream_rq_200",
            "cluster.upstream_rq cluster_name=outbound|80|v1|web.shop.svc.cluster.local response_code=200",
        ),
        (
            "cluster.outbound|80||web.shop.svc.cluster.local.upstream_cx_total",
            "cluster.upstream_cx_total cluster_name=outbound|80||web.shop.svc.cluster.local",
        ),
        ("cluster.xds-grpc.upstream_rq_5xx", "cluster.upstream_rq cluster_name=xds-grpc response_code_class=5xx"),
        (
            "http.inbound_0.0.0.0_8080;.downstream_rq_2xx",
            "http.downstream_rq http_conn_manager_prefix=inbound_0.0.0.0_8080 response_code_class=2xx",
        ),
        ("listener.0.0.0.0_15006.downstream_cx_total", "listener.downstream_cx_total listener_address=0.0.0.0_15006"),
        ("listener.[__]_15006.no_filter", "listener.no_filter listener_address=[__]_15006"),
        ("tcp.BlackHoleCluster.downstream_cx_total", "tcp.downstream_cx_total tcp_prefix=BlackHoleCluster"),
        ("server.live", "server.live"),
    ],
)
def test_statistics_have_istios_labels(name: str, apart: str) -> None:
    bootstrap = make_bootstrap(annotated())
    stats = load_configuration([Source("envoy-rev.json", json.dumps(bootstrap))]).snapshot.stats
    cut, tags = tag_producer(stats, Options()).split(name)
    assert " ".join([cut, *sorted(f"{tag}={value}" for tag, value in tags)]) == apart


def test_a_server_of_statsd_and_how_logs_are_flushed() -> None:
    config = {"statsdUdpAddress": "127.0.0.1:8125", "fileFlushInterval": "2s", "fileFlushMinSizeKb": 7}
    settings = read_settings({"PROXY_CONFIG": json.dumps(config)})
    assert settings.warnings == []
    bootstrap = make_bootstrap(settings)
    load_configuration([Source("envoy-rev.json", json.dumps(bootstrap))])
    assert bootstrap["stats_sinks"][0]["typed_config"]["address"]["socket_address"]["port_value"] == 8125
    arguments = proxy_arguments(settings, Path("b"))
    assert arguments[arguments.index("--file-flush-interval-msec") + 1] == "2000"
    assert arguments[arguments.index("--file-flush-min-size-kb") + 1] == "7"


def test_what_is_merged_over_the_bootstrap(tmp_path: Path) -> None:
    (tmp_path / "custom.json").write_text('{"stats_flush_interval": "7s"}')
    settings = read_settings({"ISTIO_BOOTSTRAP_OVERRIDE": str(tmp_path / "custom.json")}, outlier_log="/dev/null")
    bootstrap = json.dumps(make_bootstrap(settings))
    (tmp_path / "envoy-rev.json").write_text(bootstrap)
    arguments = proxy_arguments(settings, tmp_path / "envoy-rev.json")
    assert arguments[:2] == ["-c", str(tmp_path / "envoy-rev.json")]
    sources = [Source("envoy-rev.json", bootstrap), Source("--config-yaml", arguments[3])]
    snapshot = load_configuration(sources).snapshot
    assert snapshot.stats.flush_interval == 7.0
    with pytest.raises(ConfigError, match="ISTIO_BOOTSTRAP_OVERRIDE"):
        read_settings({"ISTIO_BOOTSTRAP_OVERRIDE": str(tmp_path / "none")})


@pytest.mark.parametrize(
    ("config", "annotations", "place"),
    [
        ({"statsdUdpAddress": "statsd:8125"}, {}, "PROXY_CONFIG.statsdUdpAddress"),
        ({"proxyStatsMatcher": {"inclusionPrefixes": "a"}}, {}, "PROXY_CONFIG.proxyStatsMatcher"),
        ({}, {"sidecar.istio.io/statsHistogramBuckets": "{"}, "statsHistogramBuckets"),
        ({}, {"sidecar.istio.io/statsHistogramBuckets": '{"a": 1}'}, "statsHistogramBuckets"),
        ({}, {"proxy.istio.io/config": "[1]"}, "proxy.istio.io/config"),
    ],
)
def test_what_cant_be_used_is_named(config: dict[str, Any], annotations: dict[str, str], place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        read_settings({"PROXY_CONFIG": json.dumps(config)}, pod=PodFiles(annotations=annotations))


def test_addresses_of_the_machine_are_those_that_others_can_reach(tmp_path: Path) -> None:
    (tmp_path / "fib_trie").write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n"
        "     |-- 10.0.0.7\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n"
        "Local:\n     |-- 10.0.0.7\n        /32 host LOCAL\n"
    )
    (tmp_path / "if_inet6").write_text(
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "fe800000000000000000000000000001 02 40 20 80     eth0\n"
        "fd770000000000000000000000000002 02 40 00 80     eth0\n"
    )
    assert local_addresses(tmp_path) == ["10.0.0.7", "fd77::2"]
    assert local_addresses(tmp_path / "none") == []
