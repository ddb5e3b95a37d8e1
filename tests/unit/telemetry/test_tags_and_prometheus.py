"""What Envoy 1.40 printed at `/stats` and at `/stats/prometheus` of one process, and what we print of the same.

`data/envoy_stats.txt` and `data/envoy_stats.prom` are its output, thinned out; it ran with the tags below.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from meshproxy.tag_regex import DEFAULT_TAGS
from meshproxy.telemetry.prometheus import metric_name, render_prometheus
from meshproxy.telemetry.stats import StatsSnapshot, StatsStore
from meshproxy.telemetry.stats_query import StatsQuery, parse_stats_query
from meshproxy.telemetry.tags import TagProducer, custom_extractor, default_extractors

DATA = Path(__file__).parent / "data"


def producer() -> TagProducer:
    extractors = [*default_extractors(), custom_extractor("cust.x", r"^server\.((\w+)\.)")]
    return TagProducer(extractors, (("fix", 'fv"\\x'),))


def test_same_text_as_envoy() -> None:
    expected = (DATA / "envoy_stats.prom").read_text()
    kinds = {line.split()[2]: line.split()[3] for line in expected.splitlines() if line.startswith("#")}
    tags = producer()
    snapshot = StatsSnapshot()
    for line in (DATA / "envoy_stats.txt").read_text().splitlines():
        name, value = line.split(": ")
        if kinds[metric_name(tags.split(name)[0])] == "counter":
            snapshot.counters[name] = (int(value), True)
        else:
            snapshot.gauges[name] = (int(value), True, "sum")
    assert render_prometheus(snapshot, tags) == expected


@pytest.mark.parametrize(
    ("name", "rest", "tags"),
    [
        (
            "cluster.up.external.upstream_rq_200",
            "cluster.external.upstream_rq",
            (("envoy.response_code", "200"), ("envoy.cluster_name", "up")),
        ),
        (
            "vhost.v.vcluster.c.upstream_rq_5xx",
            "vhost.vcluster.upstream_rq_xx",
            (("envoy.response_code_class", "5"), ("envoy.virtual_cluster", "c"), ("envoy.virtual_host", "v")),
        ),
        (
            "listener.[__1]_80.http.in.downstream_rq_2xx",
            "listener.http.downstream_rq_xx",
            (
                ("envoy.response_code_class", "2"),
                ("envoy.http_conn_manager_prefix", "in"),
                ("envoy.listener_address", "[__1]_80"),
            ),
        ),
        ("tcp.p.downstream_cx_total", "tcp.downstream_cx_total", (("envoy.tcp_prefix", "p"),)),
        ("server.live", "server.live", ()),
        ("listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total", ()),
        (
            "cluster.c.ssl.ciphers.TLS_AES_128_GCM_SHA256",
            "cluster.ssl.ciphers",
            (("envoy.ssl_cipher_suite", "TLS_AES_128_GCM_SHA256"), ("envoy.cluster_name", "c")),
        ),
    ],
)
def test_default_tags(name: str, rest: str, tags: tuple[tuple[str, str], ...]) -> None:
    assert TagProducer(default_extractors()).split(name) == (rest, tags)


def test_istios_pattern_of_a_cluster_name_with_dots() -> None:
    regex = r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)"
    tags = TagProducer([custom_extractor("cluster_name", regex)])
    name = "cluster.outbound|80||shop.default.svc.cluster.local.upstream_rq_total"
    expected = ("cluster_name", "outbound|80||shop.default.svc.cluster.local")
    assert tags.split(name) == ("cluster.upstream_rq_total", (expected,))


def test_without_default_tags_nothing_is_taken_out() -> None:
    assert TagProducer().split("cluster.up.upstream_rq_200") == ("cluster.up.upstream_rq_200", ())


def test_one_default_tag_by_name() -> None:
    tags = TagProducer(default_extractors("envoy.response_code"))
    assert tags.split("cluster.up.upstream_rq_200") == ("cluster.up.upstream_rq", (("envoy.response_code", "200"),))


@pytest.mark.parametrize(
    "regex", ["(", "[a", "[]", "a]", "(?P<n>a)", "(?i)(a)", r"(\Aa)", r"(\xzz)", "(a)++", "[[:no:]]", "\\"]
)
def test_what_ecmascript_refuses_is_refused(regex: str) -> None:
    with pytest.raises(ValueError, match="invalid regex"):
        custom_extractor("x", regex)


@pytest.mark.parametrize(
    ("regex", "name", "rest", "value"),
    [
        (
            r"^listener(?=\.).*?\.http\.((([_.[:digit:]]*|[_\[\]aA[:digit:]]*))\.)",
            "listener.l.http.1_2.x",
            "listener.l.http.x",
            "1_2",
        ),
        (r"_rq(_(\d{3}))(?!\d)", "up.rq_rq_404", "up.rq_rq", "404"),
        (r"^a\.(([[:alpha:]\-\]]+)\.)", "a.x-].b", "a.b", "x-]"),
        (r"^((\x61\u0062)\.)", "ab.c", "c", "ab"),
        ("no group", "there is no group here", "there is no group here", ""),
    ],
)
def test_a_tag_is_found_with_ecmascripts_expressions(regex: str, name: str, rest: str, value: str) -> None:
    assert TagProducer([custom_extractor("x", regex)]).split(name) == (rest, (("x", value),))


def test_the_names_of_the_default_tags_are_listed() -> None:
    # Those of single hosts have a tag that Envoy gives them without an extractor.
    assert {each.name for each in default_extractors()} == DEFAULT_TAGS | {"envoy.endpoint_address"}


def test_histograms_and_text_readouts() -> None:
    store = StatsStore(bounds_for=lambda name: (0.5, 1.0, 1800000.0))
    record = store.scope("cluster.up.").histogram("upstream_rq_time").record
    record(0)
    record(1)
    store.text_readout("lds.version").value = 'v"1'
    store.latch()
    text = render_prometheus(
        store.snapshot(), TagProducer(default_extractors()), StatsQuery("prometheus", text_readouts=True)
    )
    assert text.splitlines() == [
        "# TYPE envoy_lds_version gauge",
        'envoy_lds_version{text_value="v\\"1"} 0',
        "# TYPE envoy_cluster_upstream_rq_time histogram",
        'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="up",le="0.5"} 1',
        'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="up",le="1"} 2',
        'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="up",le="1800000"} 2',
        'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="up",le="+Inf"} 2',
        'envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="up"} 1.0476190476190476719153821250075',
        'envoy_cluster_upstream_rq_time_count{envoy_cluster_name="up"} 2',
    ]


def test_summary() -> None:
    store = StatsStore()
    store.histogram("h").record(1)
    store.histogram("h").record(0)
    store.latch()
    query = parse_stats_query({"histogram_buckets": "summary"}, "prometheus")
    lines = render_prometheus(store.snapshot(), TagProducer(), query).splitlines()
    assert lines[0] == "# TYPE envoy_h summary"
    assert lines[4] == 'envoy_h{quantile="0.75"} 1.0500000000000000444089209850063'


def test_names_of_custom_namespaces_get_no_prefix() -> None:
    assert metric_name("istiocustom.istio_requests_total") == "istio_requests_total"
    assert metric_name("cluster.a-b") == "envoy_cluster_a_b"


def test_nothing_to_print() -> None:
    assert render_prometheus(StatsSnapshot(), TagProducer()) == ""
