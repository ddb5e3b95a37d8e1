"""Hosts that are found ill: by what they answer to requests (outlier detection), and by checks of their health."""

from __future__ import annotations

from typing import Any

from ..case import OK, Act, Case, Upstream, get

ENDPOINT = "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $%s_port}}%s}%s}"
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n"
NO_PANIC = "common_lb_config: {healthy_panic_threshold: {value: 0}}"


def status(code: int, *lines: str) -> str:
    return "\r\n".join([f"HTTP/1.1 {code} X", *lines, "content-length: 0", "", ""])


BAD, GATEWAY = status(500), status(503)


def watched(
    name: str,
    detection: str,
    *scripts: Any,
    requests: int = 0,
    more: str = "",
    route: str = "",
    pause: float = 0.25,
    end: float = 0.0,
    **options: Any,
) -> Case:
    """One host whose answers are `scripts`, asked as often; it is never ejected for long, nor spared by panic.

    pause: after each. Envoy's main thread ejects, and what the next request meets is not to depend on its speed.
    """
    answers = tuple(each if isinstance(each, tuple) else (each,) for each in scripts)
    options.setdefault("upstreams", {"up": Upstream(answers)})
    send = tuple(x for _ in range(requests or len(scripts)) for x in (get(), pause))
    return Case(
        f"outlier-{name}",
        (*send, end) if end else send,
        routes=f"- match: {{prefix: /}}\n  route: {{cluster: $case.one{route and ', ' + route}}}\n",
        clusters=(
            f"- {{name: $case.one, connect_timeout: 1s, {more or NO_PANIC}, outlier_detection: {{base_ejection_time: 100s, "
            f"interval: 100s, max_ejection_percent: 100, {detection}}}, load_assignment: {{cluster_name: c, endpoints: "
            f"[{{lb_endpoints: [{ENDPOINT % ('up', '', '')}]}}]}}}}"
        ),
        log=LOG,
        sort_log=True,
        flat_upstream=True,
        timing=False,
        stats=r"cluster\.$case\.one\.(outlier_detection\.(?!ejections_detected_degradation)|membership_healthy|lb_healthy_panic)",
        **options,
    )


def checked(
    name: str,
    check: str,
    *scripts: Any,
    mode: str = "http",
    more: str = "",
    wait: float = 0.6,
    config: str = "",
    timeout: str = "5s",
    **options: Any,
) -> Case:
    """One host that is checked once and answers these scripts; then it is asked."""
    answers = tuple(each if isinstance(each, tuple) else (each,) for each in scripts)
    options.setdefault("upstreams", {"up": Upstream(answers or ((OK,),), mode=mode)})
    common = (
        f"timeout: {timeout}, interval: 100s, no_traffic_interval: 100s, unhealthy_threshold: 2, healthy_threshold: 2"
    )
    return Case(
        f"check-{name}",
        (wait, get()),
        routes="- match: {prefix: /}\n  route: {cluster: $case.one}\n",
        clusters=(
            f"- {{name: $case.one, connect_timeout: 1s, {NO_PANIC}, {more and more + ', '}health_checks: [{{{common}, {check}}}], "
            f"load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{ENDPOINT % ('up', config, '')}]}}]}}}}"
        ),
        log=LOG,
        timing=False,
        sort_upstream=True,
        stats=r"cluster\.$case\.one\.(health_check\.(name\.mine\.)?(healthy|degraded|passive_failure|verify_cluster)|membership_(healthy|degraded|excluded))",
        **options,
    )


HTTP = "http_health_check: {path: /check%s}"
CASES = [
    watched("consecutive-5xx", "consecutive_5xx: 2", BAD, BAD, OK),
    watched("consecutive-5xx-broken", "consecutive_5xx: 2", BAD, OK, BAD, OK),
    watched("consecutive-5xx-default", "consecutive_gateway_failure: 100", *[BAD] * 6),
    watched(
        "gateway",
        "consecutive_5xx: 100, consecutive_gateway_failure: 2, enforcing_consecutive_gateway_failure: 100",
        GATEWAY,
        GATEWAY,
        OK,
    ),
    watched("gateway-not-enforced", "consecutive_5xx: 100, consecutive_gateway_failure: 2", GATEWAY, GATEWAY, OK),
    watched(
        "gateway-not-by-500",
        "consecutive_5xx: 100, consecutive_gateway_failure: 2, enforcing_consecutive_gateway_failure: 100",
        BAD,
        BAD,
        OK,
    ),
    watched("not-enforced", "consecutive_5xx: 2, enforcing_consecutive_5xx: 0", BAD, BAD, OK),
    watched("resets", "consecutive_5xx: 2", (Act.RESET,), (Act.RESET,), OK, pause=0.7),
    watched(
        "resets-apart", "consecutive_5xx: 2, split_external_local_origin_errors: true", (Act.RESET,), (Act.RESET,), OK
    ),
    watched(
        "local-origin",
        "consecutive_5xx: 2, split_external_local_origin_errors: true, consecutive_local_origin_failure: 2",
        requests=3,
        upstreams={"up": Upstream(mode="refuse")},
        pause=0.1,
    ),
    watched("refused", "consecutive_5xx: 2", requests=3, upstreams={"up": Upstream(mode="refuse")}, pause=0.1),
    watched("timeouts", "consecutive_5xx: 2", (4.0, OK), (4.0, OK), OK, route="timeout: 0.5s", pause=0.8),
    watched(
        "grpc-status", "consecutive_5xx: 2", *[status(200, "content-type: application/grpc", "grpc-status: 14")] * 2, OK
    ),
    watched("none-may-be-ejected", "consecutive_5xx: 2, max_ejection_percent: 0", BAD, BAD, OK),
    watched("one-may-always", "consecutive_5xx: 2, max_ejection_percent: 0, always_eject_one_host: true", BAD, BAD, OK),
    watched(
        "comes-back", "consecutive_5xx: 2, interval: 0.1s, base_ejection_time: 1s", BAD, BAD, OK, pause=0.2, end=1.8
    ),
    watched(
        "success-rate-of-one-host",
        "consecutive_5xx: 100, interval: 0.3s, success_rate_minimum_hosts: 1, success_rate_request_volume: 4",
        *[BAD] * 5,
        end=0.5,
    ),
    watched(
        "failure-percentage",
        "consecutive_5xx: 100, interval: 0.3s, enforcing_failure_percentage: 100, failure_percentage_threshold: 50, "
        "failure_percentage_minimum_hosts: 1, failure_percentage_request_volume: 1",
        BAD,
        OK,
        pause=0.9,  # the end of an interval comes between the two, whenever the first began
    ),
    watched(
        "failure-percentage-too-few-requests",
        "consecutive_5xx: 100, interval: 0.3s, enforcing_failure_percentage: 100, failure_percentage_threshold: 50, "
        "failure_percentage_minimum_hosts: 1, failure_percentage_request_volume: 50",
        *[BAD] * 5,
        end=0.5,
    ),
    watched("panic-serves-on", "consecutive_5xx: 1", BAD, OK, more="metadata: {}"),
    checked("http", HTTP % "", *[OK] * 2),
    checked("named", f"name: mine, {HTTP % ''}", *[OK] * 2),
    checked("http-ill", HTTP % "", *[BAD] * 2),
    checked("http-expected", HTTP % ", expected_statuses: [{start: 201, end: 300}]", *[status(204)] * 2),
    checked("http-not-expected", HTTP % ", expected_statuses: [{start: 201, end: 300}]", *[OK] * 2),
    checked(
        "http-host-and-headers",
        HTTP
        % ", host: check.test, request_headers_to_add: [{header: {key: x-a, value: b}}], request_headers_to_remove: [user-agent]",
    ),
    checked("http-host-of-endpoint", HTTP % "", config=", health_check_config: {hostname: own.test}"),
    checked("http-hostname-of-endpoint", HTTP % "", config=", hostname: name.test"),
    checked("http-method", HTTP % ", method: HEAD", *["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"] * 2),
    checked("http-send", HTTP % ", method: POST, send: {text: '6869'}"),
    checked("http-receive", HTTP % ", receive: [{text: '6f6b'}]"),
    checked("http-receive-other", HTTP % ", receive: [{text: '6869'}]"),
    checked(
        "http-service",
        HTTP % ", service_name_matcher: {prefix: lo}",
        *["HTTP/1.1 200 OK\r\nx-envoy-upstream-healthchecked-cluster: locations\r\ncontent-length: 0\r\n\r\n"] * 2,
    ),
    checked(
        "http-other-service",
        HTTP % ", service_name_matcher: {prefix: lo}",
        *["HTTP/1.1 200 OK\r\nx-envoy-upstream-healthchecked-cluster: other\r\ncontent-length: 0\r\n\r\n"] * 2,
    ),
    checked("http-degraded", HTTP % "", *["HTTP/1.1 200 OK\r\nx-envoy-degraded: 1\r\ncontent-length: 0\r\n\r\n"] * 2),
    checked("http-timeout", HTTP % "", (2.0, OK), OK, timeout="0.8s", wait=1.6),
    checked("http-reset", HTTP % "", (Act.RESET,), OK),
    checked("http-close", HTTP % "", *["HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"] * 2),
    checked("http-without-reuse", (HTTP % "") + ", reuse_connection: false"),
    checked("http-refused", HTTP % "", upstreams={"up": Upstream(mode="refuse")}),
    checked(
        "disabled-for-the-endpoint", HTTP % "", config=", health_check_config: {disable_active_health_check: true}"
    ),
    checked(
        "immediate-failure",
        HTTP % "",
        *["HTTP/1.1 200 OK\r\nx-envoy-immediate-health-check-fail: true\r\ncontent-length: 0\r\n\r\n"] * 2,
    ),
    checked("tcp-connect", "tcp_health_check: {}"),
    checked("tcp-refused", "tcp_health_check: {}", upstreams={"up": Upstream(mode="refuse")}),
]
