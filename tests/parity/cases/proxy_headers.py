"""PROXY protocol towards hosts: what a connection begins with (the transport socket `proxy_protocol`)."""

from __future__ import annotations

from typing import Any

from ..case import Act, Case, Op, Upstream, Wait, get

KIND = "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
RAW = "{name: raw, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}"
ANSWER = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
PORTS = (
    (r"(127\.0\.0\.1) \d+ <port>", r"\1 <from> <port>"),
    (r"(PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1) \d+", r"\1 <from>"),
)
FIRST = "PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n"
#: Version 2 from 1.2.3.4:1111 to 5.6.7.8:2222 with three entries: 0xe0 "abc", 0xe1 "de", 0x02 "host".
SECOND = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x1e\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xae"
    b"\xe0\x00\x03abc\xe1\x00\x02de\x02\x00\x04host"
)
LISTENS = "- {proxy_protocol: {%s}}"
STATS = r"^cluster\.$up\.upstream_cx_(total|tx_bytes_total|rx_bytes_total|active)"


def socket(config: str = "", more: str = "", inner: str = RAW) -> str:
    return f"transport_socket: {{name: p, typed_config: {{'@type': {KIND}, config: {{{config}}}, transport_socket: {inner}{more and ', ' + more}}}}}"


def proxied(name: str, config: str, *ops: Op, more: str = "", **options: Any) -> Case:
    """An HTTP connection manager; the host plays its answer once it has seen the head's end."""
    options.setdefault("upstreams", {"up": Upstream(((0.4, ANSWER),), mode="raw")})
    options.setdefault("cluster", f"{{{socket(config, more)}}}")
    options.setdefault("masks", PORTS)
    return Case(f"proxy-header-{name}", tuple(ops) or (get(),), timing=False, **options)


def tcp(name: str, config: str, *ops: Op, fields: str = "", **options: Any) -> Case:
    network = f"- {{tcp_proxy: {{cluster: $up{fields and ', ' + fields}}}}}"
    options.setdefault("upstreams", {"up": Upstream(((0.4, "bye"),), mode="raw")})
    return proxied(f"tcp-{name}", config, *(ops or ("hello",)), network=network, **options)


ENDS = ((r"(\\x7f\\x00\\x00\\x01){2}.{2,16}?(?=GET|ñ)", "<ends>"),)


def connect(name: str, config: str, first: str = "", **options: Any) -> Case:
    """CONNECT that ends here; the host gets a header, and then what the client sends."""
    routes = (
        "- {match: {connect_matcher: {}}, route: {cluster: $up, upgrade_configs: "
        f"[{{upgrade_type: CONNECT, connect_config: {{proxy_protocol_config: {{{config}}}}}}}]}}}}"
    )
    ask = f"{first}CONNECT h.test:80 HTTP/1.1\r\nhost: h.test:80\r\n\r\n"
    hcm = "{upgrade_configs: [{upgrade_type: CONNECT}]}"
    return proxied(f"connect-{name}", "", ask, Wait("200"), "hello", routes=routes, hcm=hcm, cluster="{}", **options)


CASES = [
    proxied("v1", "version: V1", stats=STATS),
    proxied("v2", "version: V2", masks=ENDS),
    proxied("v1-of-the-clients", "version: V1", FIRST + get(), listener_filters=LISTENS % "", shows="1.2.3.4 5.6.7.8"),
    proxied("v2-of-the-clients", "version: V2", FIRST + get(), listener_filters=LISTENS % ""),
    proxied("v2-of-the-clients-v2", "version: V2", SECOND + get().encode(), listener_filters=LISTENS % ""),
    proxied(
        "passes-all",
        "version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}",
        SECOND + get().encode(),
        listener_filters=LISTENS % "pass_through_tlvs: {match_type: INCLUDE_ALL}",
    ),
    proxied(
        "passes-some",
        "version: V2, pass_through_tlvs: {match_type: INCLUDE, tlv_type: [225]}",
        SECOND + get().encode(),
        listener_filters=LISTENS % "pass_through_tlvs: {match_type: INCLUDE_ALL}",
    ),
    proxied(
        "listener-keeps-some",
        "version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}",
        SECOND + get().encode(),
        listener_filters=LISTENS % "pass_through_tlvs: {match_type: INCLUDE, tlv_type: [224]}",
    ),
    proxied(
        "adds",
        "version: V2, added_tlvs: [{type: 240, value: aGVsbG8=}, {type: 224, value: eHh4}], pass_through_tlvs: {match_type: INCLUDE_ALL}",
        SECOND + get().encode(),
        listener_filters=LISTENS % "pass_through_tlvs: {match_type: INCLUDE_ALL}",
    ),
    proxied(
        "adds-formatted",
        "version: V2, added_tlvs: [{type: 240, format_string: {text_format_source: {inline_string: '%REQ(x-a)%'}}}]",
        FIRST + get("/", "x-a: b"),
        listener_filters=LISTENS % "",
    ),
    proxied(
        "forwarded-for", "version: V1", FIRST + get("/", "x-forwarded-for: 9.9.9.9"), listener_filters=LISTENS % ""
    ),
    proxied(
        "no-state",
        "version: V1",
        FIRST + get(),
        listener_filters=LISTENS % "",
        hcm="{add_proxy_protocol_connection_state: false}",
    ),
    proxied("nobody", "version: V1", hcm="{add_proxy_protocol_connection_state: false}"),
    proxied("nobody-v2", "version: V2", hcm="{add_proxy_protocol_connection_state: false}", shows="QUIT\\n \\x00"),
    proxied(
        "twice",
        "version: V1",
        get("/1"),
        Wait("ok"),
        get("/2"),
        upstreams={"up": Upstream(((0.3, ANSWER, 0.4, ANSWER),), mode="raw")},
    ),
    proxied("v6", "version: V1", "PROXY TCP6 ::1 2001:db8::1 1 2\r\n" + get(), listener_filters=LISTENS % ""),
    proxied("v6-v2", "version: V2", "PROXY TCP6 ::1 2001:db8::1 1 2\r\n" + get(), listener_filters=LISTENS % ""),
    tcp("v1", "version: V1"),
    tcp("of-the-clients", "version: V1", FIRST + "hello", listener_filters=LISTENS % ""),
    tcp(
        "v2-passes",
        "version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}",
        SECOND + b"hello",
        listener_filters=LISTENS % "pass_through_tlvs: {match_type: INCLUDE_ALL}",
    ),
    tcp(
        "own-entries",
        "version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}",
        FIRST + "hello",
        fields="proxy_protocol_tlvs: [{type: 241, value: Yg==}]",
        listener_filters=LISTENS % "",
    ),
    tcp(
        "own-entries-of-both",
        "version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}",
        SECOND + b"hello",
        fields="proxy_protocol_tlvs: [{type: 241, value: Yg==}]",
        listener_filters=LISTENS % "pass_through_tlvs: {match_type: INCLUDE_ALL}",
    ),
    proxied(
        "no-inner", "", refused=True, cluster=f"{{transport_socket: {{name: p, typed_config: {{'@type': {KIND}}}}}}}"
    ),
    tcp(
        "own-entries-alone",
        "version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}",
        fields="proxy_protocol_tlvs: [{type: 241, value: Yg==}]",
        masks=ENDS,
    ),
    connect("v1", "version: V1"),
    connect("v1-of-the-clients", "version: V1", FIRST, listener_filters=LISTENS % ""),
    connect(
        "v2-of-the-clients",
        "version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}",
        FIRST,
        listener_filters=LISTENS % "",
    ),
]


def posted(name: str, *ops: Op, config: str = "allow_post: true", **options: Any) -> Case:
    """POST to a route that ends CONNECT."""
    routes = (
        "- {match: {prefix: /t}, route: {cluster: $up, upgrade_configs: "
        f"[{{upgrade_type: CONNECT, connect_config: {{{config}}}}}]}}}}"
    )
    options.setdefault("upstreams", {"up": Upstream(((0.3, "hi there"),), mode="raw")})
    hcm = "{upgrade_configs: [{upgrade_type: CONNECT}]}"
    return Case(f"connect-post-{name}", ops, routes=routes, hcm=hcm, timing=False, **options)


CHUNKED = "POST /t HTTP/1.1\r\nhost: h.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
CASES += [
    posted(
        "chunked",
        CHUNKED,
        Wait("hi there"),
        "0\r\n\r\n",
        upstreams={"up": Upstream(((0.3, "hi there", Act.WAIT_EOF, Act.CLOSE),), mode="raw")},
    ),
    posted(
        "whole",
        get("/t", method="POST", body="hello"),
        upstreams={"up": Upstream(((0.3, "hi there", Act.CLOSE),), mode="raw")},
    ),
    posted("get", get("/t"), upstreams={"up": Upstream()}),
    posted("not-allowed", get("/t", method="POST", body="hello"), config="", upstreams={"up": Upstream()}),
    posted("refused", get("/t", method="POST", body="hello"), upstreams={"up": Upstream(mode="refuse")}),
]
