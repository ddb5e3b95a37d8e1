"""Clients that speak HTTP/2: what they are answered, and what of their requests arrives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .. import known
from ..case import OK, REFUSE, Act, Case, Client, Op, Upstream, Wait, admin, answer, answers, client, get, raw
from ..h2_wire import (
    block,
    data,
    frame,
    goaway,
    h2get,
    head,
    hello,
    reset,
    settings,
    window,
)
from .tls import case as tls_case
from .tls import downstream, tls_client

ACKNOWLEDGED = frame(4, flags=1)
H2 = "codec_type: HTTP2"
PSEUDO = ((":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "h.test"))
STATS = r"^http\.$case\.downstream_(cx|rq)_(http[12]_(total|active)|rx_reset|tx_reset|total|active|protocol_error|[1-5]xx|drain_close|max_requests_reached|idle_timeout|max_duration_reached|too_large|non_relative_path|destroy.*):"


FLOODS = r"^http\.$case\.downstream_(cx_protocol_error|rq_rx_reset):"


def h2(*ops: Op, **options: Any) -> tuple[Client, ...]:
    """One client that begins as it should, then plays `ops`."""
    return (client(hello(), 0.1, ACKNOWLEDGED, *ops, h2=True, **options),)


def counted(name: str, *ops: Op, quiet: float = 1.5, **more: Any) -> Case:
    """The same, with the statistics of connections and requests."""
    return Case(f"h2-{name}", clients=h2(*ops, quiet=quiet), stats=STATS, **more)


SOCKET = downstream("alpn_protocols: [h2, http/1.1]")


def over_tls(name: str, *ops: Op, alpn: tuple[str, ...] = (), codec: str = "AUTO", h2: bool = True) -> Case:
    """A client that negotiates `alpn`, or nothing."""
    options: dict[str, Any] = {"alpn": alpn} if alpn else {}
    talker = replace(tls_client(*ops, **options), h2=h2)
    return tls_case(name, SOCKET, talker, hcm=f"{{codec_type: {codec}}}", stats=STATS)


CONNECT = """
- match: {connect_matcher: {}}
  route: {cluster: $up, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
- {match: {prefix: /}, route: {cluster: $up}}
"""
TUNNELS = "{http2_protocol_options: {allow_connect: true}, upgrade_configs: [{upgrade_type: CONNECT}]}"


def connect(*ops: Op) -> tuple[Client, ...]:
    return h2(head(1, (":method", "CONNECT"), (":authority", "h.test:80"), end=False), *ops)


CASES = [
    counted("get", h2get(), shows="x-request-id"),
    Case("h2-get-codec-http2", clients=h2(h2get()), hcm=H2),
    Case("h2-on-http1-only", clients=(client(hello(), h2get()),), hcm="codec_type: HTTP1"),
    Case("h1-on-http2-only", clients=(client(get(), h2=True),), hcm=H2, timing=False),
    Case("h2-post", clients=h2(h2get(method="POST", body=b"hello"))),
    Case("h2-post-with-length", clients=h2(h2get(1, "/", "content-length: 5", method="POST", body=b"hello"))),
    Case("h2-post-empty", clients=h2(h2get(method="POST"))),
    Case("h2-post-empty-data", clients=h2(h2get(method="POST", end=False), 0.1, data(1, end=True))),
    Case("h2-post-large", clients=h2(h2get(method="POST", body=b"x" * 300_000))),
    Case(
        "h2-post-slowly", clients=h2(h2get(method="POST", end=False), 0.2, data(1, b"ab"), 0.2, data(1, b"c", end=True))
    ),
    Case("h2-put-delete", clients=h2(h2get(method="PUT", body=b"x"), 0.2, h2get(3, method="DELETE"))),
    Case("h2-head", clients=h2(h2get(method="HEAD")), upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")),
    Case("h2-options", clients=h2(h2get(method="OPTIONS"))),
    Case("h2-several", clients=h2(h2get(1, "/1"), h2get(3, "/2"), h2get(5, "/3")), sort_log=True, flat_upstream=True),
    Case(
        "h2-answered-out-of-order",
        clients=h2(h2get(1, "/1"), 0.2, h2get(3, "/2")),
        upstreams=answers((0.8, OK), (OK,)),
        sort_upstream=True,
    ),
    Case(
        "h2-chunked-answer",
        clients=h2(h2get()),
        upstreams=answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nabc\r\n0\r\n\r\n"),
    ),
    Case("h2-answer-until-close", clients=h2(h2get()), upstreams=answer("HTTP/1.1 200 OK\r\n\r\nbye", Act.CLOSE)),
    Case(
        "h2-answer-in-pieces",
        clients=h2(h2get()),
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab", 0.3, "cd"),
    ),
    Case(
        "h2-answer-connection-fields",
        clients=h2(h2get()),
        upstreams=answer(
            "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nkeep-alive: timeout=5\r\nX-Up: Yes\r\ncontent-length: 0\r\n\r\n"
        ),
    ),
    Case("h2-204", clients=h2(h2get()), upstreams=answer("HTTP/1.1 204 No Content\r\n\r\n")),
    Case("h2-304", clients=h2(h2get()), upstreams=answer("HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n")),
    Case(
        "h2-set-cookies",
        clients=h2(h2get()),
        upstreams=answer("HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n"),
    ),
    Case("h2-cookie-crumbs", clients=h2(h2get(1, "/", "cookie: a=1", "x-y: z", "cookie: b=2", "cookie: c=3"))),
    Case("h2-repeated-field", clients=h2(h2get(1, "/", "x-a: 1", "x-b: 2", "x-a: 3"))),
    Case("h2-te-trailers", clients=h2(h2get(1, "/", "te: trailers"))),
    counted("te-other", h2get(1, "/", "te: gzip")),
    Case("h2-host-field-only", clients=h2(head(1, *PSEUDO[:3], ("host", "other.test")))),
    Case("h2-host-and-authority", clients=h2(h2get(1, "/", "host: other.test"))),
    counted("no-authority", head(1, *PSEUDO[:3])),
    Case("h2-empty-authority", clients=h2(head(1, *PSEUDO[:3], (":authority", "")))),
    Case(
        "h2-scheme-https",
        clients=h2(head(1, (":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "h.test"))),
    ),
    Case("h2-xff", clients=h2(h2get(1, "/", "x-forwarded-for: 10.1.2.3")), hcm="use_remote_address: true"),
    Case(
        "h2-request-id-kept",
        clients=h2(h2get(1, "/", "x-request-id: mine")),
        hcm="always_set_request_id_in_response: true",
    ),
    counted("path-without-slash", h2get(1, "nowhere")),
    Case("h2-options-star", clients=h2(h2get(1, "*", method="OPTIONS"))),
    Case("h2-path-fragment", clients=h2(h2get(1, "/a#b"))),
    Case("h2-path-normalised", clients=h2(h2get(1, "/a/../b/./c")), hcm="normalize_path: true"),
    counted("no-route", h2get(), 0.2, h2get(3), routes="[]"),
    Case(
        "h2-direct-response",
        clients=h2(h2get()),
        routes="- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hi}}}",
    ),
    Case(
        "h2-direct-response-head",
        clients=h2(h2get(method="HEAD")),
        routes="- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hi}}}",
    ),
    counted(
        "direct-response-before-body",
        h2get(method="POST", end=False),
        0.3,
        data(1, b"late", end=True),
        routes="- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hi}}}",
    ),
    Case(
        "h2-redirect",
        clients=h2(h2get(1, "/a?b=c")),
        routes="- {match: {prefix: /}, redirect: {host_redirect: new.test}}",
    ),
    Case(
        "h2-grpc-local-reply",
        clients=h2(h2get(1, "/s/m", "content-type: application/grpc", method="POST", body=b"\0\0\0\0\0")),
        routes="[]",
    ),
    Case(
        "h2-grpc-connect-failure",
        clients=h2(h2get(1, "/s/m", "content-type: application/grpc", method="POST", body=b"\0\0\0\0\0")),
        upstreams=REFUSE,
    ),
    counted(
        "early-answer", h2get(method="POST", end=False), 0.5, data(1, b"x", end=True), upstreams=answer(OK, at="head")
    ),
    counted("client-resets", h2get(), 0.3, reset(1), upstreams=answer(1.0, OK), timing=False),
    counted(
        "client-resets-request",
        h2get(method="POST", end=False),
        0.3,
        data(1, b"abc"),
        0.2,
        reset(1, 2),
        upstream_end=True,
        timing=False,
    ),
    counted(
        "client-resets-answer",
        h2get(),
        Wait("ab"),
        0.1,
        reset(1),
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab", 1.0, "cd"),
        timing=False,
    ),
    counted("client-leaves", h2get(), 0.3, Act.CLOSE, upstreams=answer(1.0, OK)),
    counted("client-leaves-two", h2get(), h2get(3), 0.3, Act.RESET, upstreams=answer(1.0, OK), flat_upstream=True),
    counted("client-half-closes", h2get(), 0.3, Act.HALF_CLOSE, upstreams=answer(1.0, OK)),
    Case("h2-upstream-leaves", clients=h2(h2get()), upstreams=answer(Act.CLOSE)),
    counted(
        "upstream-leaves-in-body",
        h2get(),
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", 0.2, Act.CLOSE),
    ),
    counted(
        "upstream-resets-in-body",
        h2get(),
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", 0.2, Act.RESET),
    ),
    Case("h2-upstream-garbage", clients=h2(h2get()), upstreams=answer("garbage\r\n\r\n")),
    Case(
        "h2-route-timeout",
        clients=h2(h2get()),
        upstreams=answer(1.5, OK),
        routes="- {match: {prefix: /}, route: {cluster: $up, timeout: 0.4s}}",
        quiet=1.0,
    ),
    Case(
        "h2-trailers-in",
        clients=h2(h2get(method="POST", end=False), data(1, b"body"), head(1, ("x-t", "1"), ("x-u", "2"))),
    ),
    Case(
        "h2-trailers-in-passed",
        clients=h2(h2get(method="POST", end=False), data(1, b"body"), head(1, ("x-t", "1"))),
        cluster="typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, explicit_http_config: {http_protocol_options: {enable_trailers: true}}}}",
    ),
    Case(
        "h2-trailers-out",
        clients=h2(h2get(1, "/", "te: trailers")),
        upstreams=answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n"),
        cluster="typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, explicit_http_config: {http_protocol_options: {enable_trailers: true}}}}",
    ),
    Case(
        "h2-expect-continue",
        clients=h2(h2get(1, "/", "expect: 100-continue", method="POST", end=False), 0.3, data(1, b"x", end=True)),
    ),
    Case(
        "h2-proxy-100-continue",
        clients=h2(h2get(1, "/", "expect: 100-continue", method="POST", end=False), 0.5, data(1, b"x", end=True)),
        hcm="proxy_100_continue: true",
        upstreams=answer("HTTP/1.1 100 Continue\r\n\r\n", Act.WAIT_REQUEST, OK, at="head"),
    ),
    Case(
        "h2-early-hints", clients=h2(h2get()), upstreams=answer("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", 0.1, OK)
    ),
    Case(
        "h2-underscore-dropped",
        clients=h2(h2get(1, "/", "x_y: z")),
        hcm="common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}",
    ),
    counted(
        "underscore-refused",
        h2get(1, "/", "x_y: z"),
        0.2,
        h2get(3),
        hcm="common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}",
    ),
    counted("too-many-fields", h2get(1, "/", *(f"x-{i}: y" for i in range(120))), 0.2, h2get(3)),
    counted("head-too-large", h2get(1, "/", *(f"x-{i}: " + "y" * 9_000 for i in range(8))), 0.2, h2get(3)),
    counted("upper-case-name", h2get(1, "/", "X-A: y")),
    counted(
        "upper-case-name-stream-error",
        h2get(1, "/", "X-A: y"),
        0.2,
        h2get(3),
        hcm="http2_protocol_options: {override_stream_error_on_invalid_http_message: true}",
    ),
    counted("connection-field", h2get(1, "/", "connection: close")),
    counted("length-too-long", h2get(1, "/", "content-length: 9", method="POST", body=b"abc")),
    counted("no-path", head(1, (":method", "GET"), (":scheme", "http"), (":authority", "h.test"))),
    counted("data-on-idle-stream", data(1, b"x")),
    counted("garbage", b"\xff" * 64),
    counted("error-with-stream-open", h2get(), 0.2, frame(0, b"x", 0, 7), upstreams=answer(1.0, OK)),
    Case("h2-client-goaway", clients=h2(h2get(), goaway()), upstreams=answer(0.3, OK)),
    Case("h2-ping", clients=h2(frame(6, b"12345678"))),
    Case("h2-settings-later", clients=h2(h2get(), 0.2, settings(window=100), h2get(3))),
    counted(
        "idle-timeout",
        h2get(),
        quiet=4.0,
        hcm="{common_http_protocol_options: {idle_timeout: 0.5s}, drain_timeout: 0.6s}",
        shows="goaway",
    ),
    counted(
        "idle-timeout-without-request",
        quiet=4.0,
        hcm="{common_http_protocol_options: {idle_timeout: 0.5s}, drain_timeout: 0.6s}",
    ),
    counted(
        "max-connection-duration",
        h2get(),
        quiet=4.0,
        hcm="{common_http_protocol_options: {max_connection_duration: 0.5s}, drain_timeout: 0.6s}",
        shows="goaway",
    ),
    counted(
        "max-duration-with-stream",
        h2get(),
        quiet=4.0,
        upstreams=answer(1.8, OK),
        hcm="{common_http_protocol_options: {max_connection_duration: 0.5s}, drain_timeout: 0.6s}",
    ),
    counted(
        "max-requests-2",
        h2get(),
        0.2,
        h2get(3),
        0.2,
        h2get(5),
        1.0,
        h2get(7),
        quiet=3.0,
        hcm="{common_http_protocol_options: {max_requests_per_connection: 2}, drain_timeout: 0.6s}",
        shows="goaway",
    ),
    Case(
        "h2-stream-flush-timeout",
        clients=(client(hello(window=3) + h2get(), h2=True, quiet=2.0),),
        hcm="stream_flush_timeout: 0.5s",
        stats=r"^http\.$case\.downstream_rq_tx_reset",
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123456789"),
        shows="[reset 2]",
    ),
    counted("stream-idle-timeout", h2get(method="POST", end=False), quiet=2.0, hcm="stream_idle_timeout: 0.5s"),
    counted(
        "stream-idle-timeout-no-answer", h2get(), quiet=2.0, hcm="stream_idle_timeout: 0.5s", upstreams=answer(3.0, OK)
    ),
    counted("request-timeout", h2get(method="POST", end=False), quiet=2.0, hcm="request_timeout: 0.5s"),
    counted(
        "max-stream-duration",
        h2get(),
        quiet=2.0,
        hcm="common_http_protocol_options: {max_stream_duration: 0.5s}",
        upstreams=answer(3.0, OK),
    ),
    counted(
        "max-stream-duration-in-answer",
        h2get(),
        quiet=2.0,
        hcm="common_http_protocol_options: {max_stream_duration: 0.5s}",
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", 3.0, "def"),
    ),
    counted(
        "max-streams",
        h2get(1, "/1") + h2get(3, "/2") + h2get(5, "/3"),
        differs=known.MORE_STREAMS_THAN_ALLOWED,
        hcm="http2_protocol_options: {max_concurrent_streams: 2}",
        upstreams=answer(0.5, OK),
        flat_upstream=True,
        sort_log=True,
    ),
    Case(
        "h2-options-in-settings",
        clients=h2(),
        hcm="http2_protocol_options: {max_concurrent_streams: 7, initial_stream_window_size: 70000, initial_connection_window_size: 140000, hpack_table_size: 0, allow_connect: true}",
    ),
    Case(
        "h2-small-client-window",
        clients=(client(hello(window=2), h2get(), 0.5, window(1, 3), 0.3, window(1, 100), h2=True),),
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabcdefghi"),
        timing=False,
    ),
    counted(
        "body-too-large",
        h2get(method="POST", body=b"x" * 30, end=False),
        0.1,
        data(1, b"x" * 10, end=True),
        filters="- buffer: {max_request_bytes: 20}",
    ),
    Case(
        "h2-keepalive-unanswered",
        clients=h2(quiet=3.0),
        hcm="http2_protocol_options: {connection_keepalive: {interval: 0.5s, timeout: 0.5s, interval_jitter: {value: 0}}}",
        timing=False,
    ),
    counted(
        "keepalive-unanswered-with-stream",
        h2get(),
        quiet=3.0,
        upstreams=answer(3.0, OK),
        hcm="http2_protocol_options: {connection_keepalive: {interval: 0.5s, timeout: 0.5s, interval_jitter: {value: 0}}}",
        timing=False,
    ),
    counted(
        "websocket",
        head(
            1,
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            *PSEUDO[1:],
            ("sec-websocket-version", "13"),
            end=False,
        ),
        Wait("hello"),
        data(1, b"ping"),
        Wait("ping"),
        data(1, end=True),
        hcm="{http2_protocol_options: {allow_connect: true}, upgrade_configs: [{upgrade_type: websocket}]}",
        upstreams=answer(
            Act.RAW,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            "hello",
            Act.ECHO,
            at="head",
        ),
    ),
    counted(
        "websocket-refused-by-upstream",
        head(1, (":method", "CONNECT"), (":protocol", "websocket"), *PSEUDO[1:], end=False),
        hcm="{http2_protocol_options: {allow_connect: true}, upgrade_configs: [{upgrade_type: websocket}]}",
        upstreams=answer("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", at="head"),
    ),
    counted(
        "websocket-not-configured",
        head(1, (":method", "CONNECT"), (":protocol", "websocket"), *PSEUDO[1:], end=False),
        hcm="http2_protocol_options: {allow_connect: true}",
    ),
    counted(
        "websocket-not-allowed",
        head(1, (":method", "CONNECT"), (":protocol", "websocket"), *PSEUDO[1:], end=False),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
    ),
    counted("connect-no-route", head(1, (":method", "CONNECT"), (":authority", "h.test:80"), end=False)),
    Case("h2-cookie", clients=h2(h2get(1, "/", "cookie: a=1", "x-y: z"))),
    Case(
        "h2-empty-data-flood",
        differs=known.GOAWAY_FOR_FLOODS,
        clients=h2(h2get(method="POST", end=False), 0.6, data(1) * 20),
        stats=FLOODS,
        timing=False,
        quiet=2.5,
    ),
    Case(
        "h2-priority-flood",
        differs=known.GOAWAY_FOR_FLOODS,
        clients=h2(h2get(method="POST", end=False), 0.6, frame(2, b"\0\0\0\0\1", 0, 1) * 400),
        stats=FLOODS,
        timing=False,
        quiet=2.5,
    ),
    Case(
        "h2-window-update-flood",
        differs=known.GOAWAY_FOR_FLOODS,
        clients=h2(h2get(method="POST", end=False), 0.6, window(0, 1) * 400),
        stats=FLOODS,
        timing=False,
        quiet=2.5,
    ),
    Case(
        "h2-continuation-flood",
        differs=known.GOAWAY_FOR_FLOODS,
        clients=h2(frame(1, b"", 0, 1), frame(9, b"\0\1a\1b", 0, 1) * 1000),
        stats=FLOODS,
        timing=False,
        quiet=2.5,
    ),
    Case(
        "h2-endless-block",
        differs=known.ENDLESS_BLOCK,
        clients=h2(frame(1, block(*PSEUDO), 1, 1), frame(9, block(("a", "b")) * 2000, 4, 1)),
        stats=FLOODS,
        timing=False,
        quiet=2.5,
    ),
    Case(
        "h2-rapid-reset",
        differs=known.GOAWAY_FOR_FLOODS,
        clients=h2(*(h2get(i) + reset(i) for i in range(1, 1400, 2)), quiet=2.5),
        upstreams={"up": Upstream(mode="unanswered")},
        compare_log=False,
        stats=STATS.replace("total|active|", "too_many_premature_resets|"),
        timing=False,
    ),
    counted(
        "websocket-upstream-ends",
        head(1, (":method", "CONNECT"), (":protocol", "websocket"), *PSEUDO[1:], end=False),
        Wait("hello"),
        data(1, b"ping"),
        quiet=2.5,
        hcm="{http2_protocol_options: {allow_connect: true}, upgrade_configs: [{upgrade_type: websocket}]}",
        upstreams=answer(
            Act.RAW,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            "hello",
            Wait("ping"),
            "bye",
            Act.CLOSE,
            at="head",
        ),
    ),
    Case(
        "h2-drain",
        clients=(*h2(h2get(), 1.0, h2get(3), 1.5, h2get(5), quiet=2.0), admin("/healthcheck/fail", "POST", start=0.6)),
        hcm="drain_timeout: 1s",
        alone=True,
        stats=STATS,
    ),
    Case(
        "h2-codec-stats",
        differs=replace(known.GOAWAY_FOR_FLOODS, sections=("client 4", "client 5", "client 6")),
        clients=(
            *h2(h2get(1, "/", *(f"x-{i}: y" for i in range(120)))),
            *h2(h2get(1, "/", *(f"x-{i}: " + "y" * 9_000 for i in range(8))), 0.1, reset(1), h2get(3), reset(3)),
            *h2(h2get(1, method="POST", end=False), data(1, b"x"), head(1, ("x-t", "1")), 0.3, h2get(3, "/", "x_y: z")),
            *h2(h2get(1, method="POST", end=False), 0.2, data(1) * 20),
            *h2(h2get(1, method="POST", end=False), 0.2, frame(2, b"\0\0\0\0\1", 0, 1) * 400),
            *h2(h2get(1, method="POST", end=False), 0.2, window(0, 1) * 400),
            *h2(h2get(1, method="POST", body=b"x")),
            *h2(h2get(1)),
            *h2(h2get(1, "/", "te: gzip")),
        ),
        hcm="{common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER, idle_timeout: 1s}, drain_timeout: 0.3s}",
        # Floods end with GOAWAY here (see `differs`); which of two counters a list too large goes to is still open.
        stats=r"^http2\.(?!.*(nghttp2|deferred|cookie_|header_count|header_list_size$|goaway_sent))",
        compare_log=False,
        timing=False,
        flat_upstream=True,
        alone=True,
    ),
    Case(
        "h2-connect",
        clients=connect(Wait("hello"), data(1, b"ping"), Wait("ping")),
        routes=CONNECT,
        hcm=TUNNELS,
        upstreams=raw("hello", Act.ECHO),
        stats=STATS,
    ),
    Case(
        "h2-connect-data-at-once",
        clients=connect(data(1, b"ping"), Wait("ping")),
        routes=CONNECT,
        hcm=TUNNELS,
        upstreams=raw(Act.ECHO),
    ),
    counted(
        "connect-client-ends",
        head(1, (":method", "CONNECT"), (":authority", "h.test:80"), end=False),
        0.2,
        data(1, b"ping", end=True),
        quiet=2.5,
        routes=CONNECT,
        hcm=TUNNELS,
        upstreams=raw(Act.WAIT_EOF, "bye", Act.CLOSE),
        upstream_end=True,
    ),
    Case(
        "h2-connect-host-ends",
        clients=connect(0.2, data(1, b"x")),
        routes=CONNECT,
        hcm=TUNNELS,
        upstreams=raw("bye", Act.CLOSE),
        stats=STATS,
    ),
    Case(
        "h2-connect-host-resets",
        clients=connect(0.2, data(1, b"x")),
        routes=CONNECT,
        hcm=TUNNELS,
        upstreams=raw("bye", 0.1, Act.RESET),
        stats=STATS,
    ),
    Case(
        "h2-connect-client-resets",
        clients=connect(Wait("hello"), reset(1)),
        routes=CONNECT,
        hcm=TUNNELS,
        upstreams=raw("hello", 1.0),
        upstream_end=True,
        timing=False,
    ),
    Case("h2-connect-refused", clients=connect(), routes=CONNECT, hcm=TUNNELS, upstreams=REFUSE, stats=STATS),
    Case("h2-connect-not-allowed", clients=connect(), routes=CONNECT, stats=STATS),
    Case("h2-connect-not-a-route-of-get", clients=h2(h2get()), routes=CONNECT, hcm=TUNNELS),
    Case(
        "h2-connect-passed-on",
        clients=connect(Wait("hello"), data(1, b"ping"), Wait("ping")),
        routes="- {match: {connect_matcher: {}}, route: {cluster: $up}}",
        hcm=TUNNELS,
        upstreams=answer(Act.RAW, "HTTP/1.1 200 OK\r\n\r\n", "hello", Act.ECHO, at="head"),
    ),
    Case(
        "h1-connect",
        ("CONNECT h.test:80 HTTP/1.1\r\nhost: h.test:80\r\n\r\n", Wait("hello"), "ping", Wait("ping")),
        routes=CONNECT,
        hcm=TUNNELS,
        upstreams=raw("hello", Act.ECHO),
        stats=STATS,
    ),
    Case(
        "h1-connect-host-ends",
        ("CONNECT h.test:80 HTTP/1.1\r\nhost: h.test:80\r\n\r\n", Wait("bye"), "x"),
        routes=CONNECT,
        hcm=TUNNELS,
        upstreams=raw("bye", Act.CLOSE),
        stats=STATS,
    ),
    Case(
        "h1-connect-refused",
        "CONNECT h.test:80 HTTP/1.1\r\nhost: h.test:80\r\n\r\n",
        routes=CONNECT,
        hcm=TUNNELS,
        upstreams=REFUSE,
    ),
    *(
        Case(
            f"h2-head-{name}",
            clients=h2(frame(1, block((":method", "GET"), (":path", "/")), 1, 1), quiet=2.0),
            hcm=hcm,
            log="%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n",
            shows="408",
        )
        for name, hcm in (
            ("request-timeout", "request_timeout: 0.5s"),
            ("stream-idle-timeout", "stream_idle_timeout: 0.5s"),
            ("max-stream-duration", "common_http_protocol_options: {max_stream_duration: 0.5s}"),
        )
    ),
    *(
        Case(
            f"h2-headers-timeout-{name}",
            clients=h2(*ops),
            hcm="{request_headers_timeout: 0.4s}",
            log="%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:PATH)%\n",
            stats=r"^http\.$case\.downstream_(rq_(total|completed|4xx|header_timeout|tx_reset|rx_reset|active)|cx_(active|protocol_error|destroy_local))$",
        )
        for name, ops in (
            ("stall", (frame(1, block((":method", "GET"), (":path", "/")), 1, 1), 1.0)),
            (
                "trickle",
                (frame(1, b"", 1, 1), *(op for _ in range(5) for op in (0.15, frame(9, block(("x", "y")), 0, 1))), 0.3),
            ),
            (
                "go-on",
                (
                    frame(1, block((":method", "GET"), (":path", "/")), 1, 1),
                    0.8,
                    frame(9, block((":scheme", "http"), (":authority", "h.test")), 4, 1),
                    0.2,
                    h2get(3),
                ),
            ),
            (
                "sibling",
                (
                    h2get(1, method="POST", end=False),
                    frame(1, block((":method", "GET"), (":path", "/")), 1, 3),
                    0.8,
                    data(1, b"x", end=True),
                ),
            ),
            ("whole", (h2get(1, method="POST", end=False), 0.8, data(1, b"x", end=True))),
            (
                "trailers",
                (
                    h2get(1, method="POST", end=False),
                    data(1, b"x"),
                    frame(1, block(("x-t", "1")), 1, 1),
                    0.8,
                    frame(9, b"", 4, 1),
                    0.2,
                ),
            ),
        )
    ),
    *(
        Case(f"h2-settings-{name}", clients=h2(h2get()), hcm=f"{{http2_protocol_options: {{{options}}}}}")
        for name, options in (
            (
                "all",
                "hpack_table_size: 8192, max_concurrent_streams: 7, initial_stream_window_size: 70000, initial_connection_window_size: 80000, allow_connect: true",
            ),
            (
                "custom",
                "custom_settings_parameters: [{identifier: 77, value: 9}, {identifier: 6, value: 1000}, {identifier: 2, value: 0}]",
            ),
        )
    ),
    *(
        Case(
            f"h2-goaway-of-client-{name}",
            clients=h2(h2get(1), Act.WAIT_UPSTREAM, goaway(last, code), 0.1, h2get(3), 0.5),
            upstreams=answer(0.3, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        )
        for name, last, code in (("plain", 0, 0), ("error", 0, 2), ("unknown", 0, 99), ("last", 2, 0))
    ),
    Case("h2-goaway-of-client-own", clients=h2(goaway(1)), differs=known.GOAWAY_FOR_FAULTS, timing=False),
    Case(
        "h2-gauges",
        clients=(
            *h2(h2get(1), 3.0),
            Client((hello(window=10), 0.1, ACKNOWLEDGED, h2get(1), h2get(3), 3.0), h2=True),
            Client(("GET /stats?filter=^http2. HTTP/1.1\r\nhost: localhost\r\n\r\n",), to="admin_port", start=1.5),
        ),
        routes="[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: %s}}}]" % ("x" * 500),
        log="%RESPONSE_CODE%\n",
        alone=True,  # these statistics are of all listeners together
    ),
    *(
        Case(
            f"h2-bytes-{name}",
            clients=h2(*ops),
            upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab", 0.2, "cd"),
            log="rx=%DOWNSTREAM_WIRE_BYTES_RECEIVED% hrx=%DOWNSTREAM_HEADER_BYTES_RECEIVED%"
            " drx=%DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED%\n",
        )
        for name, ops in (
            ("get", (h2get(1, "/", "x-a: b"),)),
            ("post", (h2get(method="POST", end=False), data(1, b"x" * 30_000), 0.1, data(1, b"y", end=True))),
            ("trailers", (h2get(method="POST", end=False), data(1, b"x"), head(1, ("x-t", "1")))),
        )
    ),
    Case("h2-path-beyond-ascii", clients=h2(h2get(1, "/\xe9")), differs=known.PATH_BEYOND_ASCII, timing=False),
    Case("h2-priority-on-stream-0", clients=h2(frame(2, bytes(5))), differs=known.BAD_PRIORITY, timing=False),
    Case("h2-frames-that-say-nothing", clients=h2(frame(66, b"x") * 2500), differs=known.SAYING_NOTHING, timing=False),
    Case("h2-ping-on-a-stream", clients=h2(frame(6, bytes(8), 0, 1)), differs=known.GOAWAY_FOR_FAULTS, timing=False),
    Case("h2-settings-of-odd-size", clients=h2(frame(4, bytes(5))), timing=False),
    Case(
        "h2-data-after-the-end",
        clients=h2(h2get(), data(1, b"x")),
        upstreams=answer(0.4, OK),
        differs=known.AFTER_THE_END,
        timing=False,
    ),
    Case(
        "h2-window-grows-by-0",
        clients=h2(h2get(), window(1, 0)),
        upstreams=answer(0.4, OK),
        differs=known.AFTER_THE_END,
        timing=False,
    ),
    over_tls("h2-by-alpn", hello(), 0.2, h2get(), alpn=("h2",)),
    over_tls("h2-preferred-by-the-server", hello(), 0.2, h2get(), alpn=("http/1.1", "h2")),
    over_tls("h2-codec-h1-by-alpn", get("/x"), alpn=("http/1.1",), h2=False),
    over_tls("h2-without-alpn", hello(), 0.2, h2get()),
    over_tls("h2-codec-h1-without-alpn", get("/x"), h2=False),
    over_tls("h2-codec-http2-by-alpn", hello(), 0.2, h2get(), alpn=("h2",), codec="HTTP2"),
]
