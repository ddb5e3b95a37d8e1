"""Readiness, merged metrics, probes: what the agent answers, without a proxy."""

from __future__ import annotations

import json

import pytest

from meshproxy.agent.application.probes import Prober, read_probers
from meshproxy.agent.ending import count_active
from meshproxy.agent.metrics import Page, merge
from meshproxy.agent.readiness import judge
from meshproxy.agent.status import read_scrape_targets
from meshproxy.errors import ConfigError

UP = {
    "server.state": 0,
    "listener_manager.workers_started": 1,
    "cluster_manager.cds.update_success": 1,
    "listener_manager.lds.update_success": 1,
}


def test_ready_once_both_pushes_came_and_it_is_live() -> None:
    assert judge(UP, dynamic=True).ready
    assert judge({"server.state": 0, "listener_manager.workers_started": 1}, dynamic=False).ready


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"server.state": 2}, "not live"),
        ({"listener_manager.workers_started": 0}, "workers"),
        ({"cluster_manager.cds.update_success": 0}, "CDS: nothing received yet"),
        (
            {"listener_manager.lds.update_success": 0, "listener_manager.lds.update_rejected": 3},
            "LDS: the configuration was refused 3 times",
        ),
    ],
)
def test_what_is_missing_is_told(change: dict[str, int], told: str) -> None:
    found = judge({**UP, **change}, dynamic=True)
    assert not found.ready
    assert told in found.text()


def test_a_later_refusal_is_noted_and_doesnt_take_the_pod_away() -> None:
    found = judge({**UP, "listener_manager.lds.update_rejected": 1}, dynamic=True, was_ready=True)
    assert found.ready
    assert found.notes == ("LDS: 1 updates were refused",)


def test_the_applications_page_comes_last_and_keeps_its_end() -> None:
    page = merge(
        b"agent 1\n", Page(b"proxy 1"), [Page(b"app 1\n# EOF\n", "application/openmetrics-text; version=1.0.0")]
    )
    assert page.body == b"agent 1\nproxy 1\napp 1\n# EOF\n"
    assert page.content_type.startswith("application/openmetrics-text")


def test_of_several_applications_none_may_end_the_page() -> None:
    open_metrics = "application/openmetrics-text"
    page = merge(b"", None, [Page(b"a 1\n# EOF\n", open_metrics), Page(b"b 1\n# EOF", open_metrics)])
    assert b"EOF" not in page.body
    assert page.content_type.startswith("text/plain")


def test_scrape_targets() -> None:
    given = {"ISTIO_PROMETHEUS_ANNOTATIONS": '{"scrape": "true", "port": "8080,8081", "path": "stats"}'}
    assert read_scrape_targets(given) == [(8080, "/stats"), (8081, "/stats")]
    assert read_scrape_targets({"ISTIO_PROMETHEUS_ANNOTATIONS": '{"scrape": "false"}'}) == []
    with pytest.raises(ConfigError, match="ISTIO_PROMETHEUS_ANNOTATIONS"):
        read_scrape_targets({"ISTIO_PROMETHEUS_ANNOTATIONS": '{"scrape": "true", "port": "http"}'})


def test_probers() -> None:
    entries = {
        "/app-health/web/livez": {
            "httpGet": {
                "path": "live",
                "port": 8080,
                "scheme": "HTTPS",
                "httpHeaders": [{"name": "X-A", "value": "b"}],
            },
            "timeoutSeconds": 3,
        },
        "/app-health/web/readyz": {"tcpSocket": {"port": 5432, "host": "127.0.0.9"}},
        "/app-health/api/livez": {"grpc": {"port": 9000, "service": "api"}},
    }
    assert read_probers({"ISTIO_KUBE_APP_PROBERS": json.dumps(entries)}) == {
        "/app-health/api/livez": Prober("grpc", 9000, "", "api"),
        "/app-health/web/livez": Prober("http", 8080, "", "/live", True, (("X-A", "b"),), 3.0),
        "/app-health/web/readyz": Prober("tcp", 5432, "127.0.0.9"),
    }


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"/a": {}}', '{"/a": {"httpGet": {"port": "http"}}}', '{"/a": {"tcpSocket": {"port": 0}}}']
)
def test_probers_that_cant_be_read_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="ISTIO_KUBE_APP_PROBERS"):
        read_probers({"ISTIO_KUBE_APP_PROBERS": text})


def test_only_connections_of_the_application_count() -> None:
    stats: list[dict[str, object]] = [
        {"name": "listener.0.0.0.0_15006.downstream_cx_active", "value": 2},
        {"name": "listener.0.0.0.0_15006.worker_0.downstream_cx_active", "value": 2},
        {"name": "listener.[__]_8443.downstream_cx_active", "value": 3},
        {"name": "listener.0.0.0.0_15021.downstream_cx_active", "value": 4},
        {"name": "listener.admin.downstream_cx_active", "value": 1},
        {"name": "listener.admin.main_thread.downstream_cx_active", "value": 1},
        {"name": "cluster.a.downstream_cx_active", "value": 9},
    ]
    assert count_active(stats, (15021, 15090)) == 5
