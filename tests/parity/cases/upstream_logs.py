"""What the router logs of each attempt (`upstream_log`)."""

from __future__ import annotations

from typing import Any

from ..case import OK, Case, Op, Upstream, get
from .route_policies import BAD

FORMAT = (
    "%ACCESS_LOG_TYPE% %REQ(:METHOD)% %REQ(:PATH)% rc=%RESPONSE_CODE% rf=%RESPONSE_FLAGS% rcd=%RESPONSE_CODE_DETAILS% rx=%BYTES_RECEIVED% "
    "tx=%BYTES_SENT% up=%UPSTREAM_HOST% c=%UPSTREAM_CLUSTER_RAW% local=%DOWNSTREAM_LOCAL_ADDRESS% peer=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% "
    "resp=%RESP(x-a)% attempt=%UPSTREAM_REQUEST_ATTEMPT_COUNT% proto=%PROTOCOL% route=%ROUTE_NAME% utf=%UPSTREAM_TRANSPORT_FAILURE_REASON% "
    "id=%REQ(X-REQUEST-ID)% h=%REQ(x-new)% vc=%VIRTUAL_CLUSTER_NAME% md=%DYNAMIC_METADATA(a)% up-proto=%UPSTREAM_PROTOCOL%\\n"
)
GOOD = "HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 5\r\n\r\nhello"


def logged(name: str, *ops: Op, route: str = "", options: str = "", extra: str = "", **more: Any) -> Case:
    routes = f"- {{match: {{prefix: /}}, name: r, request_headers_to_add: [{{header: {{key: x-new, value: n}}}}], route: {{cluster: $up{route and ', ' + route}}}}}"
    log = f"{{file_log: {{path: $dir/$case.log, log_format: {{text_format_source: {{inline_string: '{FORMAT}'}}}}}}{extra}}}"
    router = f"{{upstream_log: [{log}]{options and ', upstream_log_options: ' + options}}}"
    more.setdefault("masks", ((r"(expected-rq-timeout-ms): \d+", r"\1: <left>"),))
    more.setdefault("hcm", "{access_log: []}")
    return Case(f"upstream-log-{name}", ops or (get("/x"),), routes=routes, router=router, timing=False, **more)


RETRIES = "retry_policy: {retry_on: '5xx,connect-failure', num_retries: 2}"
CASES = [
    logged("plain", upstreams={"up": Upstream(((GOOD,),))}),
    logged("post", get("/x", method="POST", body="abc"), upstreams={"up": Upstream(((GOOD,),))}),
    logged("retries", route=RETRIES, upstreams={"up": Upstream(((BAD,), (BAD,), (GOOD,)))}),
    logged("refused", upstreams={"up": Upstream(mode="refuse")}),
    logged("refused-retries", route=RETRIES, upstreams={"up": Upstream(mode="refuse")}),
    logged("timeout", 0.01, get("/x"), 0.5, route="timeout: 0.2s", upstreams={"up": Upstream(((0.6, OK),))}),
    logged(
        "per-try-timeout",
        get("/x"),
        route="timeout: 2s, retry_policy: {retry_on: 5xx, per_try_timeout: 0.2s}",
        upstreams={"up": Upstream(((0.6, OK), (GOOD,)))},
    ),
    logged(
        "reset", upstreams={"up": Upstream((("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", 0.2),), mode="raw")}
    ),
    logged("no-host", cluster="{load_assignment: {cluster_name: x, endpoints: []}}"),
    logged(
        "when-sent", options="{flush_upstream_log_on_upstream_stream: true}", upstreams={"up": Upstream(((GOOD,),))}
    ),
    logged("interval", options="{upstream_log_flush_interval: 0.3s}", upstreams={"up": Upstream(((0.75, GOOD),))}),
]
