"""The admin interface: paths, status, headers, and the shape of what is printed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..case import OK, REFUSE, Act, Case, Client, Upstream, Wait, admin, answer, get, raw
from ..h2_wire import frame, h2get, hello
from ..known import FOREIGN_PAGE
from ..transcript import shape

STATIC = """
- match: {prefix: /}
  route: {cluster: $up}
"""


def matching(pattern: str) -> Callable[[str], str]:
    """Only the lines that `pattern` is found in, in order."""
    return lambda text: "\n".join(line for line in text.splitlines() if re.search(pattern, line))


def first_words(text: str) -> str:
    return "\n".join(line.split(":")[0].split()[0] for line in text.splitlines() if line.strip())


def outline(depth: int) -> Callable[[str], str]:
    """The shape of JSON, `depth` levels of it."""
    return lambda text: "\n".join(line for line in shape(text).splitlines() if len(line) - len(line.lstrip()) <= depth)


def show(
    name: str,
    *paths: str,
    view: Callable[[str], str] | None = None,
    method: str = "GET",
    before: tuple[Client, ...] = (),
    **more: Any,
) -> Case:
    clients = before + tuple(admin(path, method, view=view, start=0.4 + 0.15 * i) for i, path in enumerate(paths))
    return Case(f"admin-{name}", clients=clients, compare_log=False, **more)


UPGRADE = get("/", "connection: upgrade", "upgrade: websocket")
UPGRADED = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
WEBSOCKET = "upgrade_configs: [{upgrade_type: websocket}]"
USED = (Client((get("/a"),)),)
CLUSTER_LINES = (
    r"^admin-[a-z-]+\.up::(observability_name|default_priority|high_priority|added_via_api|eds_service_name|127)"
)

CASES = [
    show("ready", "/ready"),
    show("not-found", "/nonsense", view=lambda text: text.splitlines()[0]),
    show("help", "/help", view=lambda text: text.splitlines()[0]),
    show("root", "/", view=lambda text: text.splitlines()[0][:15]),
    show(
        "get-on-mutation",
        "/healthcheck/fail",
        "/reset_counters",
        "/quitquitquit",
        "/drain_listeners",
        "/logging",
        "/healthcheck/ok",
        "/reopen_logs",
    ),
    show("post-on-read", "/ready", method="POST"),
    show("server-info", "/server_info", view=outline(2)),
    show("memory", "/memory", view=shape),
    show("hot-restart-version", "/hot_restart_version", view=lambda text: ""),
    show("certs", "/certs"),
    show("init-dump", "/init_dump"),
    show("clusters", "/clusters", view=matching(r"^admin-clusters\.up::"), before=USED, alone=True),
    show("clusters-json", "/clusters?format=json", view=shape, before=USED, alone=True),
    show("clusters-filter", "/clusters?filter=nothing"),
    show("listeners", "/listeners", alone=True),
    show("listeners-json", "/listeners?format=json", view=shape, alone=True),
    show("config-dump", "/config_dump", view=outline(3), alone=True),
    show("config-dump-resource", "/config_dump?resource=static_listeners", view=outline(3), alone=True),
    show("config-dump-clusters", "/config_dump?resource=static_clusters", view=outline(4), alone=True),
    show("config-dump-unknown-resource", "/config_dump?resource=nonsense"),
    show("config-dump-name-regex", "/config_dump?name_regex=nothing.matches", view=outline(3)),
    show("stats-filter", r"/stats?filter=^http\.admin-stats-filter\.downstream_rq_[2-5]xx$", before=USED),
    show("stats-partial-filter", "/stats?filter=admin-stats-partial-filter.downstream_rq_2", before=USED),
    show("stats-bad-filter", "/stats?filter=%5B", view=lambda text: text.split(":")[0]),
    show("stats-usedonly", r"/stats?usedonly&filter=^http\.admin-stats-usedonly\.downstream_rq_", before=USED),
    *(
        show(
            f"stats-usedonly-{name}",
            rf"/stats?usedonly&type=Gauges&filter=^(http|cluster|listener)\.admin-stats-usedonly-{name}[.:]",
            before=(Client((*ops, Act.CLOSE)),),  # then most gauges are back at 0
            listener="stat_prefix: $case",
            # Envoy touches the pools of the other priority when it gives up those of a host.
            masks=((r"(rx_bytes_buffered): \d+", r"\1: <n>"),),
            view=lambda text: re.sub(r".*\.high\.cx_pool_open: 0\n", "", text),
            **more,
        )
        for name, ops, more in (
            ("http1", (get(), Wait("ok")), {"upstreams": {"up": Upstream(((OK, Act.CLOSE),))}}),
            ("no-request", (), {}),
            ("refused", (get(), Wait("503")), {"upstreams": REFUSE}),
            ("upgraded", (UPGRADE, Wait("101")), {"hcm": WEBSOCKET, "upstreams": answer(UPGRADED, Act.RAW, at="head")}),
            ("tcp", ("hello", Wait("hello")), {"network": "- tcp_proxy: {cluster: $up}", "upstreams": raw(Act.ECHO)}),
            ("http2", (hello() + frame(4, flags=1) + h2get(), Wait("ok")), {}),
        )
    ),
    show("stats-json", r"/stats?format=json&filter=^http\.admin-stats-json\.downstream_rq_[2-5]xx$", before=USED),
    show(
        "stats-counters",
        r"/stats?type=Counters&filter=^http\.admin-stats-counters\.downstream_cx_(active|total)$",
        before=USED,
    ),
    show(
        "stats-gauges",
        r"/stats?type=Gauges&filter=^http\.admin-stats-gauges\.downstream_cx_(active|total)$",
        before=USED,
    ),
    show("stats-histograms", r"/stats?type=Histograms&filter=admin-stats-histograms\.up", before=USED),
    show("stats-bad-format", "/stats?format=nonsense"),
    show(
        "prometheus",
        "/stats/prometheus",
        view=matching(r'(envoy_cluster_name="admin-prometheus.up"|prefix="admin-prometheus").*} \d+$'),
        before=USED,
        masks=((r"(bytes\w*\{.*\}) \d+", r"\1 <n>"), (r"(_bucket\{.*\}|_sum\{.*\}) [\d.]+", r"\1 <n>")),
    ),
    show(
        "prometheus-format",
        r"/stats?format=prometheus&filter=admin-prometheus-format\.downstream_rq_[2-5]xx$",
        before=USED,
    ),
    show(
        "prometheus-types",
        "/stats/prometheus?filter=downstream_cx_(total|active)$",
        view=matching("^# TYPE envoy_http_"),
    ),
    show("logging", "/logging?level=warning", method="POST", view=lambda text: text.splitlines()[0], alone=True),
    show("logging-bad-level", "/logging?level=nonsense", method="POST", view=lambda text: text[:20]),
    show("runtime", "/runtime", view=outline(2)),
    show("runtime-modify", "/runtime_modify?a=b", method="POST"),
    show(
        "reset-counters",
        "/reset_counters",
        method="POST",
        before=USED,
        alone=True,
        stats=r"^http\.$case\.downstream_rq_2xx$",
    ),
    show("reopen-logs", "/reopen_logs", method="POST"),
    Case(
        "admin-head",
        clients=(Client(("HEAD /ready HTTP/1.1\r\nhost: localhost\r\n\r\n",), to="admin_port", timing=False),),
    ),
    Case(
        "admin-keep-alive",
        clients=(
            Client(
                (
                    "GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n",
                    0.2,
                    "GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n",
                ),
                to="admin_port",
                timing=False,
            ),
        ),
    ),
    *(
        Case(
            f"admin-host-{name}",
            clients=(Client((f"GET /ready HTTP/1.1\r\nhost: {host}\r\n\r\n",), to="admin_port", timing=False),),
            differs=differs,
        )
        for name, host, differs in (
            ("short", "envoy:9901", None),
            ("cluster", "web.default.svc.cluster.local", None),
            ("public", "envoy.example.com:9901", FOREIGN_PAGE),
        )
    ),
    Case("admin-bad-request", clients=(Client(("nonsense\r\n\r\n",), to="admin_port", timing=False),)),
    Case("admin-http-1.0", clients=(Client(("GET /ready HTTP/1.0\r\n\r\n",), to="admin_port", timing=False),)),
]
