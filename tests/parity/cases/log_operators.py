"""Access log operators with arguments that few formats have, in text and in JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..case import LEFT, OK, REFUSE, Act, Case, Upstream, Wait, answer, answers, client, get
from .access_logs import operator

_REQUEST = get("/p/a?x=1&y=2", "x-a: one", "x-a: two", "connection: close")


def one(name: str, *operators: str, **more: Any) -> Case:
    return operator(f"op-{name}", *operators, send=more.pop("send", _REQUEST), quiet=10.0, timing=False, **more)


_MASKS = ("", "(16)", "(0)", "(32)", "(33)", "(MASK_PREFIX_LEN=16)", "(x)")
_SIDES = ("DOWNSTREAM_LOCAL", "DOWNSTREAM_REMOTE", "DOWNSTREAM_DIRECT_REMOTE", "DOWNSTREAM_DIRECT_LOCAL")
_FORWARDED = "{use_remote_address: false, xff_num_trusted_hops: 0}"

_DIGITS = ((r"\d", "9"), (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun)", "<day>"), (r"[ap]m", "<half>"))

_CERTIFICATES = (
    "By=a;URI=b;DNS=c", 'By=x;Subject="a,b;\\"c;d=e";URI="q\\\\",By=y;URI=second', "uri=low", "URI=", 'URI="open;DNS=x',
    'DNS=a;DNS=b;URI=" s "', "nonsense", ' URI = spaced ;by=z', ",,;URI=late", 'Hash="h";URI=a"b"c', "URI",
)  # fmt: skip

_TYPES = "type.googleapis.com/envoy.extensions.formatter"
_FILE = Path(__file__).with_name("__init__.py")
_SECRETS = Path(__file__).parents[2] / "data/secrets/word.yaml"
_WITH_FILES = f"[{{name: f, typed_config: {{'@type': {_TYPES}.file_content.v3.FileContent}}}}]"
_WITH_SECRETS = (
    f"[{{name: s, typed_config: {{'@type': {_TYPES}.generic_secret.v3.GenericSecret, secret_configs: {{"
    f"key: {{name: word, sds_config: {{path_config_source: {{path: {_SECRETS}}}}}}}, "
    f"none: {{name: nothing, sds_config: {{path_config_source: {{path: {_SECRETS}}}}}}}}}}}}}]"
)


def extended(name: str, formatters: str, *operators: str, form: str = "text", **more: Any) -> Case:
    """A format with formatter extensions."""
    told = "|".join(f"%{each}%" for each in operators)
    source = f"text_format_source: {{inline_string: '{told}'}}" if form == "text" else f"json_format: {{a: '{told}'}}"
    log = f"yaml: {{log_format: {{{source}, formatters: {formatters}}}}}"
    return Case(f"log-op-{name}", _REQUEST, quiet=10.0, timing=False, log=log, **more)


_POINTS = (
    *("DS_CX_END", "DS_HS_BEG", "DS_HS_END", "DS_RX_BEG", "DS_RX_HDR_END", "DS_RX_END", "US_CX_BEG", "US_CX_END"),
    *("US_HS_END", "US_TX_BEG", "US_TX_END", "US_RX_BEG", "US_RX_BODY_BEG", "US_RX_END", "DS_TX_BEG", "DS_TX_END"),
)
_PRESENT = ((r"\b(\w+)=\d+", r"\1=<time>"),)


def reached(name: str, *operations: Any, **more: Any) -> Case:
    """Which points of time were reached."""
    told = " ".join(f"{point}=%COMMON_DURATION(DS_CX_BEG:{point}:us)%" for point in _POINTS)
    told += " sent=%REQUEST_TX_DURATION% done=%RESPONSE_TX_DURATION% ready=%UPSTREAM_CONNECTION_POOL_READY_DURATION%"
    masks = more.pop("masks", ()) + _PRESENT
    log = f"yaml: {{log_format: {{text_format_source: {{inline_string: '{told}'}}}}}}"
    return Case(f"log-reached-{name}", operations or _REQUEST, quiet=10.0, timing=False, log=log, masks=masks, **more)


def kept(name: str, **more: Any) -> Case:
    return reached(name, _REQUEST, **more)


def connected(name: str, network: str = "{cluster: $up}", **more: Any) -> Case:
    """Bytes and ends of a connection through tcp_proxy."""
    told: tuple[str, ...] = (
        "DOWNSTREAM_WIRE_BYTES_RECEIVED",
        "DOWNSTREAM_WIRE_BYTES_SENT",
        "UPSTREAM_WIRE_BYTES_RECEIVED",
    )
    told += ("UPSTREAM_WIRE_BYTES_SENT", "UPSTREAM_LOCAL_CLOSE_REASON", "DOWNSTREAM_LOCAL_CLOSE_REASON")
    told += ("UPSTREAM_DETECTED_CLOSE_TYPE", "DOWNSTREAM_DETECTED_CLOSE_TYPE", "UPSTREAM_REQUEST_ATTEMPT_COUNT")
    log = f"yaml: {{log_format: {{text_format_source: {{inline_string: '{'|'.join(f'%{each}%' for each in told)}'}}}}}}"
    clients = (client("hello", *more.pop("ops", ()), raw=True, quiet=10.0, timing=False),)
    more.setdefault("upstreams", {"up": Upstream(((Act.ECHO,),), mode="raw")})
    return Case(f"log-tcp-{name}", clients=clients, network=f"- tcp_proxy: {network}", log=log, **more)


_NO_CONNECTIONS = "circuit_breakers: {thresholds: [{max_connections: 0}]}"
_NO_HOSTS = "- {name: $case.none, type: STATIC}"

CASES = [
    connected("in-order", ops=(Wait("hello"), Act.CLOSE)),
    connected("idle", "{cluster: $up, idle_timeout: 0.2s}"),
    connected("too-long", "{cluster: $up, max_downstream_connection_duration: 0.2s}"),
    connected("refused", upstreams=REFUSE),
    connected("no-host", "{cluster: $case.none}", clusters=_NO_HOSTS),
    connected("no-cluster", "{cluster: nowhere}"),
    connected("overflow", cluster=_NO_CONNECTIONS),
    connected("reset", upstreams={"up": Upstream((("bye", Act.RESET),), mode="raw")}),
    one("close-types", "UPSTREAM_DETECTED_CLOSE_TYPE", "DOWNSTREAM_DETECTED_CLOSE_TYPE"),
    one("close-types-no-route", "UPSTREAM_DETECTED_CLOSE_TYPE", "DOWNSTREAM_DETECTED_CLOSE_TYPE", routes="[]"),
    one("bad-request", "REQ(:SCHEME)", "REQUEST_HEADERS_BYTES", send="GET / HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\n"),
    one("connect-size", "REQUEST_HEADERS_BYTES", send="CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n"),
    one(
        "upgrade-size",
        "UPSTREAM_HEADER_BYTES_RECEIVED",
        send=(get("/x", "connection: upgrade", "upgrade: websocket"), Wait("101"), Act.CLOSE),
        hcm="{upgrade_configs: [{upgrade_type: websocket}]}",
        upstreams=answer("HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", Act.RAW, Act.ECHO),
    ),
    kept("plain"),
    kept("no-body", upstreams=answer("HTTP/1.1 204 No\r\n\r\n")),
    kept("refused", upstreams=REFUSE),
    kept("no-route", routes="[]"),
    kept("reset", upstreams=answer(Act.RESET)),
    kept("late", upstreams=answer(0.6), routes="[{match: {prefix: /}, route: {cluster: $up, timeout: 0.2s}}]"),
    kept("cut-short", upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe", 0.05, Act.CLOSE)),
    kept(
        "retried",
        upstreams=answers("HTTP/1.1 503 No\r\ncontent-length: 3\r\n\r\nabc", "HTTP/1.1 204 No\r\n\r\n"),
        routes="[{match: {prefix: /}, route: {cluster: $up, retry_policy: {retry_on: 5xx}}}]",
        masks=LEFT,
    ),
    reached(
        "slow",
        get("/", "content-length: 3", "connection: close", method="POST"),
        0.05,
        "abc",
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 0.05, "hello"),
    ),
    reached("client-left", get("/", "content-length: 30", method="POST"), Act.WAIT_UPSTREAM, Act.CLOSE),
    reached(
        "tcp",
        clients=(client("hello", 0.1, Act.CLOSE, raw=True),),
        network="- tcp_proxy: {cluster: $up}",
        upstreams={"up": Upstream(((Act.ECHO,),), mode="raw")},
    ),
    reached(
        "tcp-refused",
        clients=(client("hello", raw=True),),
        network="- tcp_proxy: {cluster: $up}",
        upstreams=REFUSE,
    ),
    one("resolved", "ROUTE_RESOLUTION_COUNT", "DOWNSTREAM_CX_RTT"),
    one("resolved-none", "ROUTE_RESOLUTION_COUNT", "DOWNSTREAM_CX_RTT", routes="[]"),
    one(
        "resolved-again",
        "ROUTE_RESOLUTION_COUNT",
        flat_upstream=True,
        routes="[{match: {path: /p/a}, route: {cluster: $up, internal_redirect_policy: {}}}, "
        "{match: {prefix: /}, route: {cluster: $up}}]",
        upstreams=answers("HTTP/1.1 302 Found\r\nlocation: http://h.test/z\r\ncontent-length: 0\r\n\r\n", OK),
    ),
    one("resolved-in", "ROUTE_RESOLUTION_TIME_US", masks=((r"\b\d{1,5}\b", "<time>"),)),
    one("round-trip-with-length", "DOWNSTREAM_CX_RTT:3", refused=True),
    one("file-unnamed", f"FILE_CONTENT({_FILE})", refused=True),
    extended("file", _WITH_FILES, f"FILE_CONTENT({_FILE})", f"FILE_CONTENT({_FILE}):5", f"FILE_CONTENT({_FILE}:)"),
    extended("file-json", _WITH_FILES, f"FILE_CONTENT({_FILE})", form="json"),
    extended("file-missing", _WITH_FILES, "FILE_CONTENT(/nowhere)", refused=True),
    extended("file-odd", _WITH_FILES, "FILE_CONTENT(a:b:c)", refused=True),
    extended("secret", _WITH_SECRETS, "SECRET(key)", "SECRET(key):3", "SECRET(none)"),
    extended("secret-json", _WITH_SECRETS, "SECRET(key)", form="json"),
    extended("secret-unknown", _WITH_SECRETS, "SECRET(other)", refused=True),
    *(
        one(
            f"xfcc-{number}",
            *(f"XFCC_VALUE({key})" for key in ("uri", "By", "DNS", "subject", "hash")),
            send=get("/", f"x-forwarded-client-cert: {value}", "connection: close"),
            hcm="{forward_client_cert_details: ALWAYS_FORWARD_ONLY}",
        )
        for number, value in enumerate(_CERTIFICATES)
    ),
    one("xfcc-none", "XFCC_VALUE(uri)"),
    one("xfcc-bad-key", "XFCC_VALUE(nothing)", refused=True),
    one("xfcc-no-key", "XFCC_VALUE", refused=True),
    *(
        one(f"mask-{side.lower().replace('_', '-')}", *(f"{side}_ADDRESS_WITHOUT_PORT{mask}" for mask in _MASKS))
        for side in (*_SIDES, "UPSTREAM_REMOTE", "UPSTREAM_LOCAL")
    ),
    *(
        one(
            f"mask-forwarded-{version}",
            *(f"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT{mask}" for mask in (*_MASKS, "(64)", "(128)")),
            send=get("/", f"x-forwarded-for: {address}", "connection: close"),
            hcm=_FORWARDED,
        )
        for version, address in ((4, "203.0.113.77"), (6, "2001:db8:1:2::77"))
    ),
    one(
        "hosts-attempted",
        *(f"UPSTREAM_HOST{what}_ATTEMPTED" for what in ("S", "_NAMES")),
        "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    ),
    one("hosts-attempted-in-vain", "UPSTREAM_HOSTS_ATTEMPTED", "UPSTREAM_HOST", upstreams=REFUSE),
    one("hostname-with-length", "HOSTNAME:3", refused=True),
    one("times", *(f"START_TIME({each})" for each in ("%Ec|%EY|%Oy", "%k|%l|%P", "%:z|%::z")), masks=_DIGITS),
    one("mask-with-length", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8):3", refused=True),
    one("retransmitted", "BYTES_RETRANSMITTED", "PACKETS_RETRANSMITTED", "ROUNDTRIP_DURATION"),
    Case(
        "log-op-json",
        _REQUEST,
        quiet=10.0,
        timing=False,
        log="yaml: {log_format: {json_format: {a: '%BYTES_RETRANSMITTED%', b: '%ROUNDTRIP_DURATION%', "
        "c: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%', d: 'x%UPSTREAM_HOST%%RESP(none)%'}}}",
    ),
]
