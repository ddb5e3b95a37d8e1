"""Lines of the access log while a request is under way, and tcp_proxy's ways to wait before it tries again."""

from __future__ import annotations

from typing import Any

from ..case import OK, Case, Op, Upstream, Wait, get

LOG = "%ACCESS_LOG_TYPE% %REQ(:PATH)% rc=%RESPONSE_CODE% rx=%BYTES_RECEIVED% tx=%BYTES_SENT%\n"
SLOW = {"up": Upstream(((0.75, OK),))}
WEBSOCKET = "GET /ws HTTP/1.1\r\nhost: h.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
SWITCH = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def periodic(name: str, hcm: str, *ops: Op, **more: Any) -> Case:
    more.setdefault("upstreams", SLOW)
    return Case(f"log-{name}", ops or (get("/x"),), hcm=f"{{{hcm}}}", log=LOG, distinct_log=True, timing=False, **more)


CASES = [
    periodic("interval", "access_log_options: {access_log_flush_interval: 0.1s}"),
    periodic("interval-older-field", "access_log_flush_interval: 0.1s"),
    periodic(
        "interval-both",
        "access_log_flush_interval: 0.1s, access_log_options: {access_log_flush_interval: 0.1s}",
        refused=True,
    ),
    periodic(
        "interval-and-new",
        "access_log_options: {access_log_flush_interval: 0.1s, flush_access_log_on_new_request: true}",
    ),
    periodic(
        "tunnel",
        "access_log_options: {flush_log_on_tunnel_successfully_established: true}, upgrade_configs: [{upgrade_type: websocket}]",
        WEBSOCKET,
        Wait("101"),
        "hello",
        0.3,
        upstreams={"up": Upstream(((SWITCH, 0.2, "bye"),))},
    ),
    periodic(
        "tunnel-refused",
        "access_log_options: {flush_log_on_tunnel_successfully_established: true}, upgrade_configs: [{upgrade_type: websocket}]",
        WEBSOCKET,
        upstreams={"up": Upstream(((OK,),))},
    ),
    Case(
        "tcp-waits-before-it-tries-again",
        ("hello",),
        network="- {tcp_proxy: {cluster: $up, max_connect_attempts: 3, backoff_options: {base_interval: 0.02s, max_interval: 0.05s}, max_downstream_connection_duration: 100s, max_downstream_connection_duration_jitter_percentage: {value: 50}}}",
        upstreams={"up": Upstream(mode="refuse")},
        stats=r"^cluster\.$up\.upstream_cx_(total|connect_fail):",
        timing=False,
    ),
    Case(
        "tcp-back-off-refused",
        network="- {tcp_proxy: {cluster: $up, backoff_options: {base_interval: 2s, max_interval: 1s}}}",
        refused=True,
    ),
]
