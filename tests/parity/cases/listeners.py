"""Which filter chain and which listener take a connection; listener filters; original destinations."""

from __future__ import annotations

import struct
from typing import Any

from ..case import OK, Act, Case, Client, Op, Upstream, answer, client, get, raw

SAY = "    filters: [{direct_response: {response: {inline_string: %s}}}]\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n"


def say(name: str, match: str = "") -> str:
    """A filter chain that answers with its own name."""
    return f"- name: {name}\n" + (f"  filter_chain_match: {match}\n" if match else "") + (SAY % name)[2:]


def proxied(destination: str = "$port", source: str = "10.1.2.3", sport: int = 4444, address: str = "127.0.0.1") -> str:
    return f"PROXY TCP4 {source} {address} {sport} {destination}\r\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return V2 + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


def v2_inet(source: str, destination: str, sport: int, dport: int, extra: bytes = b"") -> bytes:
    addresses = b"".join(bytes(int(part) for part in each.split(".")) for each in (source, destination))
    return v2(1, 0x11, addresses + struct.pack("!HH", sport, dport) + extra)


def chosen(name: str, chains: str, *clients: Client, **more: Any) -> Case:
    return Case(f"chain-{name}", clients=clients, chains=chains, upstreams={}, timing=False, sort_log=True, **more)


def plain(*ops: Op, **options: Any) -> Client:
    return Client(ops, raw=True, **options)


def client_hello(server: str, alpn: tuple[str, ...] = ()) -> bytes:
    """A minimal well-formed TLS 1.3 ClientHello."""
    name = server.encode()
    extensions = struct.pack("!HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name if server else b""
    if alpn:
        protocols = b"".join(bytes([len(each)]) + each.encode() for each in alpn)
        extensions += struct.pack("!HHH", 16, len(protocols) + 2, len(protocols)) + protocols
    extensions += bytes.fromhex("002b0003020304000d000400020403000a00040002001d")
    extensions += bytes.fromhex("003300260024001d0020") + b"\x11" * 32
    body = (
        b"\x03\x03"
        + b"\0" * 32
        + b"\0"
        + b"\0\x02\x13\x01"
        + b"\x01\0"
        + struct.pack("!H", len(extensions))
        + extensions
    )
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


BOTH = "- tls_inspector: {}\n- http_inspector: {}"
PP = "- proxy_protocol: {}"
PPA = "- proxy_protocol: {allow_requests_without_proxy_protocol: true}"
INSPECTED = "{listener_filters_timeout: 0.5s, continue_on_listener_filters_timeout: true}"
PPX = "{name: pp, filter_disabled: %s, typed_config: {'@type': envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol}}"
LIMITED = """
- name: limit
  typed_config:
    "@type": envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit
    stat_prefix: $case
    token_bucket: {max_tokens: 2, fill_interval: 3600s}
"""
LISTENER_LOG = 'access_log: [{file_log: {path: $dir/$case.log, log_format: {text_format_source: {inline_string: "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DOWNSTREAM_LOCAL_ADDRESS% %CONNECTION_TERMINATION_DETAILS%\\n"}}}}]'
HTTP_OR_TCP = say("http", "{application_protocols: [http/1.0, http/1.1, h2c]}") + say("other")
PORTS = say("p1", "{destination_port: 1111}") + say("p2", "{destination_port: 2222}") + say("any")
PREFIXES = (
    say("ten", "{prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}")
    + say("ten-one", "{prefix_ranges: [{address_prefix: 10.1.0.0, prefix_len: 16}]}")
    + say("host", "{prefix_ranges: [{address_prefix: 10.1.2.3, prefix_len: 32}]}")
    + say("any")
)
NAMES = (
    say("exact", "{server_names: [a.b.test]}")
    + say("suffix", "{server_names: ['*.b.test']}")
    + say("longer", "{server_names: ['*.c.b.test']}")
    + say("tls", "{transport_protocol: tls}")
    + say("raw", "{transport_protocol: raw_buffer}")
)
SOURCES = (
    say("source-ten", "{source_prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}")
    + say(
        "source-ten-port", "{source_prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}], source_ports: [4444]}"
    )
    + say("source-port", "{source_ports: [5555]}")
    + say("any")
)

CASES = [
    chosen("default-only", say("one"), plain(Act.WAIT_EOF)),
    chosen(
        "disabled-filter",
        PORTS,
        *(plain(text, start=0.2 * i) for i, text in enumerate(("hello", proxied("1111")))),
        listener_filters="- "
        + PPX % "{or_match: {rules: [{destination_port_range: {start: 1, end: 2}}, {any_match: true}]}}",
    ),
    chosen(
        "filter-not-disabled",
        PORTS,
        *(plain(text, start=0.2 * i) for i, text in enumerate(("hello\r\n" * 9, proxied("1111")))),
        listener_filters="- "
        + PPX
        % "{and_match: {rules: [{not_match: {destination_port_range: {start: 1, end: 2}}}, {not_match: {any_match: true}}]}}",
    ),
    chosen(
        "use-proxy-proto",
        say("p1", "{destination_port: 1111}").replace("  filters", "  use_proxy_proto: true\n  filters") + say("any"),
        *(plain(text, start=0.2 * i) for i, text in enumerate(("hello\r\n" * 9, proxied("1111"), proxied("2222")))),
    ),
    chosen(
        "rate-limit",
        say("one"),
        *(plain(Act.WAIT_EOF, start=0.2 * i) for i in range(4)),
        listener_filters=LIMITED,
        stats=r"^listener_local_ratelimit\.$case\.",
    ),
    chosen(
        "socket-fields",
        say("one"),
        plain(Act.WAIT_EOF),
        listener="{tcp_fast_open_queue_length: 5, enable_mptcp: true, reuse_port: true, drain_type: MODIFY_ONLY, socket_options: [{level: 6, name: 9, int_value: 1, state: STATE_LISTENING}, {level: 1, name: 9, int_value: 1, state: STATE_BOUND, type: {stream: {}}}]}",
    ),
    chosen(
        "by-port",
        PORTS,
        *(plain(proxied(port), start=i * 0.2) for i, port in enumerate(("1111", "2222", "3333"))),
        listener_filters=PP,
    ),
    chosen(
        "by-prefix",
        PREFIXES,
        *(
            plain(proxied(address=a), start=i * 0.2)
            for i, a in enumerate(("10.1.2.3", "10.1.9.9", "10.9.9.9", "11.1.1.1"))
        ),
        listener_filters=PP,
    ),
    chosen(
        "by-source",
        SOURCES,
        *(
            plain(proxied(source=a, sport=p), start=i * 0.2)
            for i, (a, p) in enumerate((("10.1.1.1", 1), ("10.1.1.1", 4444), ("9.9.9.9", 5555), ("9.9.9.9", 1)))
        ),
        listener_filters=PP,
    ),
    chosen(
        "port-before-prefix",
        say("port", "{destination_port: 1111}")
        + say("prefix", "{prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}"),
        plain(proxied("1111", address="10.0.0.1")),
        plain(proxied("9", address="10.0.0.1"), start=0.2),
        listener_filters=PP,
    ),
    chosen(
        "no-way-back",
        say("port-tls", "{destination_port: 1111, transport_protocol: tls}")
        + say("raw", "{transport_protocol: raw_buffer}"),
        plain(proxied("1111"), "hello"),
        listener_filters=f"{PP}\n- tls_inspector: {{}}",
        listener=LISTENER_LOG,
    ),
    chosen(
        "server-names",
        NAMES,
        *(
            plain(client_hello(name), start=i * 0.2)
            for i, name in enumerate(("a.b.test", "x.b.test", "x.c.b.test", "c.b.test", "other.test", ""))
        ),
        plain("plain", start=1.5),
        listener_filters="- tls_inspector: {}",
    ),
    chosen(
        "server-name-in-one-byte-segments",
        NAMES,
        Client(tuple(op for byte in client_hello("a.b.test") for op in (bytes([byte]), 0.001)), raw=True),
        listener_filters="- tls_inspector: {}",
    ),
    chosen(
        "alpn",
        say("h2", "{application_protocols: [h2]}")
        + say("istio", "{application_protocols: [istio, istio-http/1.1]}")
        + say("none"),
        plain(client_hello("a", ("h2", "http/1.1"))),
        plain(client_hello("a", ("istio-http/1.1",)), start=0.2),
        plain(client_hello("a", ("x",)), start=0.4),
        plain(client_hello("a"), start=0.6),
        listener_filters="- tls_inspector: {}",
    ),
    chosen(
        "transport-before-alpn",
        say("alpn", "{application_protocols: [http/1.1]}") + say("raw", "{transport_protocol: raw_buffer}"),
        plain(get()),
        listener_filters=BOTH,
        shows="'raw'",
    ),
    chosen(
        "http-inspector",
        HTTP_OR_TCP,
        plain(get()),
        plain("hello world\n", start=0.2),
        plain("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", start=0.4),
        plain("GET / HTTP/1.0\r\n\r\n", start=0.6),
        plain("G", 0.2, "ET / HTTP/1.1\r\n", start=0.8),
        plain("GET / FTP\r\n\r\n", start=1.0),
        listener_filters=BOTH,
        listener=INSPECTED,
    ),
    chosen(
        "http-1.0-only",
        say("ten", "{application_protocols: [http/1.0]}")
        + say("eleven", "{application_protocols: [http/1.1]}")
        + say("h2c", "{application_protocols: [h2c]}")
        + say("none"),
        plain(get()),
        plain("GET / HTTP/1.0\r\n\r\n", start=0.2),
        plain("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", start=0.4),
        plain("POST /x HTTP/1.1\r\n", start=0.6),
        listener_filters=BOTH,
    ),
    chosen("inspector-timeout-continues", HTTP_OR_TCP, plain(2.0), listener_filters=BOTH, listener=INSPECTED),
    chosen(
        "inspector-timeout-closes",
        HTTP_OR_TCP,
        plain(2.0),
        listener_filters=BOTH,
        listener="{listener_filters_timeout: 0.5s}",
    ),
    chosen("half-a-request-line-timeout", HTTP_OR_TCP, plain("GE", 2.0), listener_filters=BOTH, listener=INSPECTED),
    chosen(
        "tls-inspector-client-closes",
        HTTP_OR_TCP,
        plain(client_hello("a.test")[:20], 0.2, Act.HALF_CLOSE),
        listener_filters=BOTH,
        listener=INSPECTED,
    ),
    chosen(
        "none-matches",
        say("tls", "{transport_protocol: tls}"),
        plain("hello"),
        listener_filters="- tls_inspector: {}",
        listener=LISTENER_LOG,
        shows="NR filter_chain_not_found",
    ),
    chosen(
        "none-matches-no-bytes", say("port", "{destination_port: 1}"), plain(0.2), listener=LISTENER_LOG, exact_end=True
    ),
    chosen(
        "default-chain",
        say("tls", "{transport_protocol: tls}"),
        plain("hello"),
        listener_filters="- tls_inspector: {}",
        listener="default_filter_chain: {filters: [{direct_response: {response: {inline_string: default}}}]}",
        shows="default",
    ),
    chosen(
        "source-type",
        say("local", "{source_type: SAME_IP_OR_LOOPBACK}") + say("external", "{source_type: EXTERNAL}"),
        plain(proxied(source="10.1.1.1")),
        plain(proxied(source="127.0.0.1"), start=0.2),
        listener_filters=PP,
    ),
    chosen(
        "direct-source",
        say("direct", "{direct_source_prefix_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}") + say("any"),
        plain(proxied(source="10.1.1.1")),
        listener_filters=PP,
    ),
    Case(
        "no-chain-stats",
        clients=(plain("hello"),),
        chains=say("port", "{destination_port: 1}"),
        upstreams={},
        listener="stat_prefix: $case",
        stats=r"^listener\.$case\.(no_filter_chain_match|downstream_cx_(total|active|destroy))$",
    ),
    Case("listener-log", get(), listener=LISTENER_LOG),
    Case(
        "proxy-v1-http",
        (proxied() + get(),),
        listener_filters=PP,
        hcm="use_remote_address: true",
        shows="x-forwarded-for: 10.1.2.3",
    ),
    Case(
        "proxy-v1-local-address",
        (proxied("1234", address="10.9.9.9") + get(),),
        listener_filters=PP,
        log="%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%\n",
        shows="10.9.9.9:1234 10.1.2.3:4444",
    ),
    Case(
        "proxy-v1-ipv6",
        ("PROXY TCP6 2001:db8::1 2001:db8::2 4444 1234\r\n" + get(),),
        listener_filters=PP,
        hcm="use_remote_address: true",
        log="%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS%\n",
    ),
    Case("proxy-v1-unknown", ("PROXY UNKNOWN\r\n" + get(),), listener_filters=PP),
    Case("proxy-v1-unknown-with-rest", ("PROXY UNKNOWN ff:: ff:: 1 2\r\n" + get(),), listener_filters=PP),
    Case(
        "proxy-v1-slowly",
        ("PROXY TCP4 10.1.2.3 ", 0.2, "127.0.0.1 1 2\r", 0.2, "\n" + get()),
        listener_filters=PP,
        hcm="use_remote_address: true",
    ),
    *(
        Case(f"proxy-v1-bad-{name}", (line + "\r\n" + get(),), listener_filters=PP, timing=False)
        for name, line in {
            "port": "PROXY TCP4 1.2.3.4 5.6.7.8 99999 1",
            "address": "PROXY TCP4 1.2.3 5.6.7.8 1 1",
            "word": "PROXY TCP5 1.2.3.4 5.6.7.8 1 1",
            "spaces": "PROXY  TCP4 1.2.3.4 5.6.7.8 1 1",
            "short": "PROXY TCP4 1.2.3.4",
            "family": "PROXY TCP6 1.2.3.4 5.6.7.8 1 1",
            "lower": "proxy TCP4 1.2.3.4 5.6.7.8 1 1",
            "long": "PROXY TCP4 " + "1" * 120,
            "tab": "PROXY TCP4\t1.2.3.4 5.6.7.8 1 1",
            "negative": "PROXY TCP4 1.2.3.4 5.6.7.8 -1 1",
            "leading-zero": "PROXY TCP4 01.2.3.4 5.6.7.8 1 1",
        }.items()
    ),
    Case("proxy-absent", get(), listener_filters=PP, shows="end: fin", timing=False),
    Case("proxy-absent-allowed", get(), listener_filters=PPA, shows="200"),
    Case(
        "proxy-absent-allowed-tcp",
        clients=(plain("hello"),),
        network="- tcp_proxy: {cluster: $up}",
        upstreams=raw(Act.ECHO),
        listener_filters=PPA,
    ),
    Case("proxy-absent-allowed-begins-alike", ("PROPFIND / HTTP/1.1\r\nhost: h\r\n\r\n",), listener_filters=PPA),
    Case(
        "proxy-v2",
        (v2_inet("10.1.2.3", "10.9.9.9", 4444, 1234) + get().encode(),),
        listener_filters=PP,
        hcm="use_remote_address: true",
        log="%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS%\n",
    ),
    Case(
        "proxy-v2-tlv",
        (v2_inet("10.1.2.3", "10.9.9.9", 4444, 1234, b"\x04\0\x03abc") + get().encode(),),
        listener_filters=PP,
        hcm="use_remote_address: true",
    ),
    Case("proxy-v2-local", (v2(0, 0, b"") + get().encode(),), listener_filters=PP, hcm="use_remote_address: true"),
    Case(
        "proxy-v2-ipv6",
        (v2(1, 0x21, bytes(15) + b"\x01" + bytes(15) + b"\x02" + struct.pack("!HH", 1, 2)) + get().encode(),),
        listener_filters=PP,
        hcm="use_remote_address: true",
    ),
    Case(
        "proxy-v2-bad-version",
        (V2 + b"\x31\x11\0\x0c" + bytes(12) + get().encode(),),
        listener_filters=PP,
        timing=False,
    ),
    Case(
        "proxy-v2-bad-length", (V2 + b"\x21\x11\0\x04" + bytes(4) + get().encode(),), listener_filters=PP, timing=False
    ),
    Case(
        "proxy-v2-bad-command",
        (V2 + b"\x25\x11\0\x0c" + bytes(12) + get().encode(),),
        listener_filters=PP,
        timing=False,
    ),
    Case("proxy-v2-udp", (v2(1, 0x12, bytes(12)) + get().encode(),), listener_filters=PP, timing=False),
    Case(
        "proxy-v2-in-pieces",
        (V2[:7], 0.2, V2[7:] + b"\x21", 0.2, b"\x11\0\x0c\x0a\x01\x02\x03\x7f\0\0\x01\0\x01\0\x02" + get().encode()),
        listener_filters=PP,
        hcm="use_remote_address: true",
    ),
    Case(
        "original-dst-hand-off",
        clients=(
            plain(proxied("$port2", address="127.0.0.9"), Act.WAIT_EOF),
            plain(proxied("$port2", address="127.0.0.8"), Act.WAIT_EOF, start=0.2),
            plain(proxied("$port3"), Act.WAIT_EOF, start=0.4),
            plain(proxied("999"), Act.WAIT_EOF, start=0.6),
        ),
        chains=say("itself"),
        listener="use_original_dst: true",
        listener_filters=PP,
        upstreams={},
        listeners="""
- name: $case.exact
  address: {socket_address: {address: 127.0.0.9, port_value: $port2}}
  bind_to_port: false
  filter_chains: [{filters: [{direct_response: {response: {inline_string: exact}}}]}]
- name: $case.any
  address: {socket_address: {address: 0.0.0.0, port_value: $port2}}
  bind_to_port: false
  filter_chains: [{filters: [{direct_response: {response: {inline_string: any}}}]}]
- name: $case.three
  address: {socket_address: {address: 0.0.0.0, port_value: $port3}}
  bind_to_port: false
  filter_chains: [{filters: [{direct_response: {response: {inline_string: three}}}]}]
""",
        timing=False,
    ),
    Case(
        "original-dst-hand-off-http",
        (proxied("$port2") + get(),),
        chains=say("itself"),
        listener="use_original_dst: true",
        listener_filters=PP,
        listeners="""
- name: $case.http
  address: {socket_address: {address: 0.0.0.0, port_value: $port2}}
  bind_to_port: false
  filter_chains: [{filters: [{hcm: {stat_prefix: second}}]}]
""",
        shows="200 OK",
    ),
    Case(
        "original-dst-cluster-http",
        (proxied("$up_port") + get(),),
        listener_filters=PP,
        routes="- {match: {prefix: /}, route: {cluster: $case.od}}",
        clusters="- {name: $case.od, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s}",
        shows="200 OK",
    ),
    Case(
        "original-dst-cluster-refused",
        (proxied("$up_port") + get(),),
        listener_filters=PP,
        upstreams={"up": Upstream(mode="refuse")},
        routes="- {match: {prefix: /}, route: {cluster: $case.od}}",
        clusters="- {name: $case.od, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s}",
        shows="UF",
    ),
    Case(
        "original-dst-cluster-tcp",
        clients=(plain(proxied("$up_port") + "hello"),),
        upstreams=raw(Act.ECHO),
        listener_filters=PP,
        network="- tcp_proxy: {cluster: $case.od}",
        clusters="- {name: $case.od, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s}",
        shows="hello",
    ),
    Case(
        "original-dst-cluster-no-destination",
        get(),
        routes="- {match: {prefix: /}, route: {cluster: $case.od}}",
        clusters="- {name: $case.od, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s}",
        shows="UH",
    ),
    Case(
        "original-dst-cluster-header",
        (
            get("/", "x-envoy-original-dst-host: 127.0.0.1:$up_port"),
            0.2,
            get("/", "x-envoy-original-dst-host: nonsense"),
            0.2,
            get(),
        ),
        routes="- {match: {prefix: /}, route: {cluster: $case.od}}",
        clusters="- {name: $case.od, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s, original_dst_lb_config: {use_http_header: true}}",
        shows="200 OK",
    ),
    Case(
        "original-dst-filter-unredirected", get(), listener_filters="- original_dst: {}", hcm="use_remote_address: true"
    ),
    Case(
        "original-dst-filter-self",
        get(),
        listener_filters="- original_dst: {}",
        routes="- {match: {prefix: /}, route: {cluster: $case.od}}",
        clusters="- {name: $case.od, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s}",
    ),
    Case("tls-to-http-manager", clients=(plain(client_hello("a.test")),), network="", shows="[raw]"),
    Case(
        "two-chains-http-and-tcp",
        clients=(client(get()), plain("hello\n", start=0.3)),
        listener_filters=BOTH,
        chains="""
- filter_chain_match: {application_protocols: [http/1.1]}
  filters: [{hcm: {stat_prefix: x}}]
- filter_chain_match: {transport_protocol: raw_buffer}
  filters: [{tcp_proxy: {cluster: $up2}}]
""".replace("application_protocols: [http/1.1]", "transport_protocol: raw_buffer, application_protocols: [http/1.1]"),
        upstreams={"up": Upstream(((OK,),)), "up2": Upstream(((Act.ECHO,),), mode="raw")},
        sort_log=True,
    ),
    Case(
        "transport-socket-raw",
        get(),
        listener="",
        upstreams=answer(OK),
        chains="""
- filters: [{hcm: {stat_prefix: x}}]
  transport_socket: {name: envoy.transport_sockets.raw_buffer, typed_config: {"@type": envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}
""",
    ),
    Case(
        "connection-counted",
        clients=(client(get()), client(get(), start=0.3)),
        listener="stat_prefix: $case",
        stats=r"^listener\.$case\.(downstream_cx_(total|active|destroy|overflow)|downstream_pre_cx_(active|timeout)|no_filter_chain_match|http\.$case\.downstream_rq_(1|2|3|4|5)xx|http\.$case\.downstream_rq_completed)$",
        sort_log=True,
    ),
]
