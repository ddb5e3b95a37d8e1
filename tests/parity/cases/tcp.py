"""tcp_proxy and the small network filters: bytes, half closes, failures, and the row in the log."""

from __future__ import annotations

from typing import Any

from ..case import Act, Case, Client, Op, Upstream, admin, client, raw

PROXY = "- tcp_proxy: {cluster: $up%s}"


def tcp(name: str, *ops: Op, options: str = "", **more: Any) -> Case:
    quiet = more.pop("quiet", 1.5)
    connection = Client(ops, raw=True, quiet=quiet)
    if "upstreams" not in more:
        more["upstreams"] = raw(Act.ECHO)
    network = PROXY % (f", {options}" if options else "")
    more.setdefault("exact_end", True)
    return Case(f"tcp-{name}", clients=(connection,), network=network, upstream_end=True, **more)


_PROTOCOL = "type.googleapis.com/envoy.extensions.transport_sockets"
WITH_HEADER = (
    f"transport_socket: {{name: p, typed_config: {{'@type': {_PROTOCOL}.proxy_protocol.v3.ProxyProtocolUpstreamTransport, "
    "config: {version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}}, "
    f"transport_socket: {{name: r, typed_config: {{'@type': {_PROTOCOL}.raw_buffer.v3.RawBuffer}}}}}}}}"
)
ON_DATA = "upstream_connect_mode: ON_DOWNSTREAM_DATA, max_early_data_bytes: 10"
EARLY = r"^tcp\.$case\.early_data_received_count_total"


def header(*tlvs: tuple[int, bytes]) -> bytes:
    """What a client begins with in version 2 of the PROXY protocol."""
    rest = bytes([127, 0, 0, 1, 127, 0, 0, 1, 0, 80, 0, 90])
    rest += b"".join(bytes([kind, 0, len(value)]) + value for kind, value in tlvs)
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0" + bytes([len(rest)]) + rest


TWO = {"up": Upstream((("one", 5.0),), mode="raw"), "up2": Upstream((("two", 5.0),), mode="raw")}
ECHOED = Client(("hello", 0.3, "again"), raw=True)

CASES = [
    tcp("echo", "hello", 0.2, " world", 0.2, shows="'hello world'"),
    tcp("client-closes", "hello", 0.2, Act.CLOSE),
    tcp("client-resets", "hello", 0.2, Act.RESET),
    tcp(
        "client-half-close",
        "hello",
        Act.HALF_CLOSE,
        upstreams=raw(Act.WAIT_EOF, "answer after your end", Act.CLOSE),
        shows="answer after your end",
    ),
    tcp(
        "upstream-half-close",
        0.6,
        "still talking",
        0.3,
        Act.HALF_CLOSE,
        upstreams=raw("bye", Act.HALF_CLOSE, Act.WAIT_EOF),
    ),
    tcp("upstream-closes", "hello", upstreams=raw(0.2, "bye", Act.CLOSE)),
    tcp("upstream-resets", "hello", upstreams=raw(0.3, Act.RESET)),
    tcp("upstream-speaks-first", upstreams=raw("welcome", Act.ECHO)),
    tcp("refused", "hello", upstreams={"up": Upstream(mode="refuse")}, shows="rf=UF,URX"),
    tcp(
        "connect-timeout",
        0.1,  # what arrives at once may be read before the proxy stops reading: then the end is a FIN, not an RST
        "hello",
        upstreams={"up": Upstream(mode="unanswered")},
        cluster="connect_timeout: 0.5s",
        shows="UF",
    ),
    tcp(
        "refused-three-attempts",
        "hello",
        options="max_connect_attempts: 3",
        upstreams={"up": Upstream(mode="refuse")},
        exact_end=False,  # whether "hello" has been read by then is chance
    ),
    tcp("big", "x" * 1_000_000, 0.5, Act.HALF_CLOSE, quiet=3.0),
    tcp(
        "big-upstream-stops-reading",
        "x" * 100_000,
        0.3,
        upstreams=raw(Act.STOP_READING, 0.5, Act.READ_ON, Act.ECHO),
        timing=False,
    ),
    tcp("idle-timeout", "hello", options="idle_timeout: 0.6s", quiet=2.5),
    tcp("idle-timeout-not-while-talking", "a", 0.4, "b", 0.4, "c", 0.4, "d", options="idle_timeout: 0.8s", quiet=2.5),
    tcp("max-duration", "hello", 0.4, "more", options="max_downstream_connection_duration: 0.8s", quiet=2.5),
    Case("tcp-unknown-cluster", clients=(ECHOED,), network="- tcp_proxy: {cluster: none}", exact_end=True, shows="NC"),
    Case(
        "tcp-empty-cluster",
        clients=(ECHOED,),
        network="- tcp_proxy: {cluster: $case.empty}",
        clusters="- {name: $case.empty, type: STATIC, connect_timeout: 1s}",
        exact_end=True,
        shows="UH",
    ),
    Case(
        "tcp-weighted",
        clients=(ECHOED,),
        network="- tcp_proxy: {weighted_clusters: {clusters: [{name: $up, weight: 1}, {name: $up2, weight: 1000000}]}}",
        upstreams=TWO,
        shows="two",
    ),
    Case(
        "tcp-client-sends-nothing",
        clients=(Client((0.3, Act.HALF_CLOSE), raw=True),),
        network=PROXY % "",
        upstreams=raw(Act.WAIT_EOF, Act.CLOSE),
    ),
    Case(
        "tcp-max-connections",
        clients=(Client(("a", 1.0), raw=True), Client(("b", 0.2), raw=True, start=0.3)),
        network=PROXY % "",
        upstreams=raw(Act.ECHO),
        cluster="circuit_breakers: {thresholds: [{max_connections: 1}]}",
        sort_log=True,
    ),
    Case(
        "tcp-log-operators",
        clients=(Client(("hello", 0.2, Act.CLOSE), raw=True),),
        network=PROXY % "",
        upstreams=raw(Act.ECHO),
        log="%PROTOCOL%|%REQ(:METHOD)%|%RESPONSE_CODE%|%RESPONSE_FLAGS%|%BYTES_RECEIVED%|%BYTES_SENT%|%UPSTREAM_HOST%|%UPSTREAM_CLUSTER%|%REQUESTED_SERVER_NAME%|%ROUTE_NAME%|%CONNECTION_TERMINATION_DETAILS%|%RESPONSE_CODE_DETAILS%|dur=%DURATION%\n",
    ),
    Case(
        "direct-response-network",
        clients=(Client(("hello",), raw=True),),
        network="- direct_response: {response: {inline_string: 'over and out'}}",
        shows="over and out",
        exact_end=True,
    ),
    Case(
        "echo-network",
        clients=(Client(("hello", 0.2, " again", 0.2, Act.HALF_CLOSE), raw=True),),
        network="- echo: {}",
        shows="hello again",
    ),
    Case(
        "tcp-stats",
        clients=(Client(("hello", 0.2, Act.HALF_CLOSE), raw=True),),
        network=PROXY % "",
        upstreams=raw(Act.ECHO),
        stats=r"^(tcp\.$case\.|cluster\.$case\.up\.upstream_cx_(total|active|destroy|connect_fail|rx_bytes_total|tx_bytes_total)$)",
    ),
    Case(
        "tcp-stats-refused",
        clients=(Client(("hello",), raw=True),),
        network=PROXY % "",
        upstreams={"up": Upstream(mode="refuse")},
        stats=r"^(tcp\.$case\.|cluster\.$case\.up\.upstream_(cx_(total|active|destroy|connect_fail|connect_attempts_exceeded)|rq_pending_failure_eject)$)",
    ),
    Case(
        "tcp-ipv6",
        clients=(client("hello", raw=True),),
        network=PROXY % "",
        upstreams={"up": Upstream(((Act.ECHO,),), mode="raw", host="::1")},
    ),
    tcp("early-data", "hello", 0.3, "again", options=ON_DATA, stats=EARLY),
    tcp("early-data-over-the-limit", "hello, this is long", 0.3, "again", options=ON_DATA, stats=EARLY),
    tcp("early-data-that-never-come", 0.3, options=ON_DATA, upstreams=raw("hi")),
    tcp("early-data-is-but-an-end", Act.HALF_CLOSE, options=f"{ON_DATA}, idle_timeout: 0.4s", shows="end: fin"),
    tcp("early-data-refused", "hello", options=ON_DATA, upstreams={"up": Upstream(mode="refuse")}, shows="rx=5"),
    tcp(
        "early-data-until-the-limit",
        "hello",
        0.1,
        "again",
        options="max_early_data_bytes: 5",
        upstreams={"up": Upstream(mode="unanswered")},
        cluster="connect_timeout: 0.5s",
        shows="rx=5",
    ),
    tcp(
        "log-from-the-start",
        "hello",
        options="access_log_options: {flush_access_log_on_start: true, flush_access_log_on_connected: true}",
        log="%ACCESS_LOG_TYPE% %UPSTREAM_HOST%\n",
    ),
    tcp("timeouts-of-one-side", "a", 0.5, "b", options="downstream_idle_timeout: 0.2s, upstream_idle_timeout: 0.2s"),
    *(
        tcp(
            f"tlvs-{merge}-{name}".replace("_", "-").lower(),
            *before,
            "hello",
            options=f"proxy_protocol_tlv_merge_policy: {merge}, proxy_protocol_tlvs: [{{type: 0xF1, value: YWI=}}, "
            "{type: 0xF2, format_string: {text_format_source: {inline_string: 'x%PROTOCOL%y'}}}]",
            listener_filters="[{proxy_protocol: {pass_through_tlvs: {match_type: INCLUDE_ALL}}}]" if before else "",
            upstreams={"up": Upstream((("ok",),), mode="raw", cluster=WITH_HEADER)},
            masks=((r"\\x7f\\x00\\x00\\x01\\x7f.*?ñ", "<addresses>ñ"),),
        )
        for merge in ("ADD_IF_ABSENT", "OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD", "APPEND_IF_EXISTS_OR_ADD")
        for name, before in (("alone", ()), ("beside", (header((0xF1, b"c1"), (0xF1, b"c2"), (0xE0, b"c3")),)))
    ),
    *(
        Case(
            f"tcp-leaves-{how}-{when}",
            clients=(
                Client(ops, raw=True, timing=False),
                admin("/healthcheck/fail", "POST", start=0.3),
            ),
            network=PROXY % ", check_drain_close: true",
            upstreams=raw(*answers),
            stats=r"^tcp\.$case\.downstream_cx_drain_close$",
            alone=True,
        )
        for how, when, ops, answers in (
            ("with", "a-byte", ("a", 0.7, "b"), (Act.ECHO,)),
            ("with", "an-answer", ("a",), (0.7, "one", 0.3, "two")),
            ("not", "before", ("a", 0.7), (Act.ECHO,)),
        )
    ),
]
