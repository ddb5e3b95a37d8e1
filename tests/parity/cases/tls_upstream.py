"""TLS towards upstreams: whom we accept, what we show, which name we ask for, and what a failure is called."""

from __future__ import annotations

import hashlib
import ssl
from functools import partial
from typing import Any

from tests.certificates import folder

from ..case import Act, Case, Client, Upstream, get
from ..known import NO_ALERT_UPSTREAM

CERTS = folder()
DIRECTORY = str(CERTS.path)
V12 = ssl.TLSVersion.TLSv1_2
CA = f"trusted_ca: {{filename: {DIRECTORY}/ca.pem}}"
UPSTREAM = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
LOG = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% utf=%UPSTREAM_TRANSPORT_FAILURE_REASON% "
    "%UPSTREAM_TLS_VERSION% %UPSTREAM_TLS_CIPHER% peer=%UPSTREAM_PEER_SUBJECT% %UPSTREAM_PEER_URI_SAN% "
    "%UPSTREAM_PEER_DNS_SAN% %UPSTREAM_PEER_ISSUER% local=%UPSTREAM_LOCAL_URI_SAN%\n"
)
STATS = (
    r"^cluster\.$case\.up\.(ssl\.(handshake|connection_error|no_certificate|fail_verify_.*|session_reused|versions.*)"
    r"|upstream_cx_total|(mutual|plain)\.total_match_count)$"
)


def socket(validation: str = "", *, common: str = "", more: str = "", certificate: str = "") -> str:
    inside = []
    if validation:
        inside.append(f"validation_context: {{{validation}}}")
    if certificate:
        files = f"{DIRECTORY}/{certificate}"
        inside.append(
            f"tls_certificates: [{{certificate_chain: {{filename: {files}.pem}}, private_key: {{filename: {files}.key}}}}]"
        )
    if common:
        inside.append(common)
    outside = f", {more}" if more else ""
    return f"{{name: tls, typed_config: {{'@type': {UPSTREAM}, common_tls_context: {{{', '.join(inside)}}}{outside}}}}}"


def names(*matchers: str) -> str:
    return f"match_typed_subject_alt_names: [{', '.join(f'{{{each}}}' for each in matchers)}]"


def peer(name: str = "server", **options: Any) -> dict[str, Upstream]:
    return {"up": Upstream(tls=partial(CERTS.server_context, name, **options))}


def case(name: str, transport: str, upstreams: dict[str, Upstream] | None = None, **more: Any) -> Case:
    extra = str(more.pop("cluster", ""))
    more.setdefault("send", get("/x"))
    more.setdefault("log", LOG)
    more.setdefault("stats", STATS)
    return Case(
        f"tls-up-{name}",
        upstreams=peer() if upstreams is None else upstreams,
        cluster=f"transport_socket: {transport}\n{extra}",
        timing=False,
        **more,
    )


HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def http_options(text: str) -> str:
    return (
        f"typed_extension_protocol_options: {{{HTTP}: {{'@type': type.googleapis.com/{HTTP}, "
        f"explicit_http_config: {{http_protocol_options: {{}}}}, upstream_http_protocol_options: {{{text}}}}}}}"
    )


URI = "san_type: URI, matcher: {exact: 'spiffe://cluster.local/ns/default/sa/server'}"
OTHER_URI = "san_type: URI, matcher: {exact: 'spiffe://cluster.local/ns/default/sa/other'}"
HASH = hashlib.sha256(CERTS.issued["server"].der).hexdigest()
MATCHES = (
    "transport_socket_matches: [{name: mutual, match: {tlsMode: istio}, transport_socket: "
    + socket(CA, certificate="client")
    + "}, {name: plain, match: {}, transport_socket: {name: raw, typed_config: "
    "{'@type': type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}]\n"
)
ISTIO = (
    "load_assignment: {endpoints: [{lb_endpoints: [{metadata: {filter_metadata: {envoy.transport_socket_match: "
    "{tlsMode: istio}}}, endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $up_port}}}}]}]}\n"
)

HELLO = ((r"\[raw\] .*", "<hello>"),)

CASES = [
    case("no-common-context", f"{{name: tls, typed_config: {{'@type': {UPSTREAM}, sni: a.test}}}}"),
    case("unverified", socket(), shows="TLSv1.2"),
    case("verified", socket(CA), shows="CN=server,O=Mesh"),
    case("verified-12", socket(CA), peer(version=V12), shows="TLSv1.2"),
    case("keep-alive", socket(CA), send=(get("/1"), 0.2, get("/2"), 0.2, get("/3")), shows="upstream_cx_total: 1"),
    case("13", socket(CA, common="tls_params: {tls_maximum_protocol_version: TLSv1_3}"), shows="TLSv1.3"),
    case(
        "13-no-certificate-to-show",
        socket(CA, common="tls_params: {tls_maximum_protocol_version: TLSv1_3}"),
        peer(ca="ca"),
        shows="503",
    ),
    case(
        "13-mutual",
        socket(CA, common="tls_params: {tls_maximum_protocol_version: TLSv1_3}", certificate="client"),
        peer(ca="ca"),
        shows="200",
    ),
    case("mutual", socket(CA, certificate="client"), peer(ca="ca"), shows="local=spiffe"),
    case("no-certificate-to-show", socket(CA), peer(ca="ca"), shows="503"),
    case("no-certificate-to-show-12", socket(CA), peer(ca="ca", version=V12), shows="503"),
    case("certificate-not-liked", socket(CA, certificate="untrusted"), peer(ca="ca", version=V12), shows="503"),
    case("untrusted", socket(CA), peer("untrusted-server"), shows="CERTIFICATE_VERIFY_FAILED"),
    case("expired", socket(CA), peer("expired"), shows="CERTIFICATE_VERIFY_FAILED"),
    case("not-yet-valid", socket(CA), peer("future"), shows="CERTIFICATE_VERIFY_FAILED"),
    case("wrong-purpose", socket(CA), peer("client-only"), shows="CERTIFICATE_VERIFY_FAILED"),
    case(
        "untrusted-accepted",
        socket(f"{CA}, trust_chain_verification: ACCEPT_UNTRUSTED"),
        peer("untrusted-server"),
        stats="",
    ),
    case("name", socket(f"{CA}, {names(URI)}"), shows="200"),
    case("name-one-of-two", socket(f"{CA}, {names(OTHER_URI, URI)}"), shows="200"),
    case("name-other", socket(f"{CA}, {names(OTHER_URI)}"), shows="fail_verify_san: 1", differs=NO_ALERT_UPSTREAM),
    case("hash", socket(f"{CA}, verify_certificate_hash: ['{HASH}']"), shows="200"),
    case("hash-alone", socket(f"verify_certificate_hash: ['{HASH}']"), shows="200"),
    case(
        "hash-alone-other",
        socket(f"verify_certificate_hash: ['{'11' * 32}']"),
        shows="fail_verify_cert_hash: 1",
        differs=NO_ALERT_UPSTREAM,
    ),
    case("sni-is-sent", socket(CA, more="sni: sent.test"), shows="200"),
    case(
        "auto-san-validation",
        socket(CA),
        cluster=http_options("auto_sni: true, auto_san_validation: true"),
        send=get("/x", host="server.test"),
        shows="200",
    ),
    case(
        "auto-san-validation-wildcard",
        socket(CA),
        cluster=http_options("auto_sni: true, auto_san_validation: true"),
        send=get("/x", host="a.wild.test:8443"),
        shows="200",
    ),
    case(
        "auto-san-validation-other",
        socket(CA),
        cluster=http_options("auto_sni: true, auto_san_validation: true"),
        send=get("/x", host="other.test"),
        shows="fail_verify_san: 1",
        differs=NO_ALERT_UPSTREAM,
    ),
    case(
        "auto-san-validation-by-header",
        socket(CA),
        cluster=http_options("auto_sni: true, auto_san_validation: true, override_auto_sni_header: x-name"),
        send=get("/x", "x-name: server.test", host="other.test"),
        shows="200",
    ),
    case(
        "auto-sni-two-names-two-connections",
        socket(CA),
        cluster=http_options("auto_sni: true"),
        send=(get("/1", host="one.test"), 0.3, get("/2", host="two.test"), 0.3, get("/3", host="one.test")),
        shows="upstream_cx_total: 2",
    ),
    *(
        case(
            f"auto-sni-{name}",
            socket(CA, more=f"max_session_keys: 0{more}"),
            cluster=http_options("auto_sni: true") if host else "",
            send=get("/1", host=host or "h.test"),
            log="%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\n",
        )
        for name, host, more in (
            ("empty-label", "a..b", ""),
            ("dot-first", ".a.test", ""),
            ("long-label", "x" * 64 + ".test", ""),
            ("long-name", ".".join(["x" * 50] * 6), ""),
            ("dot-last", "a.test.", ""),
            ("odd-bytes", "a_b~c!d", ""),
            ("configured-empty-label", "", ", sni: a..b"),
            ("configured-address", "", ", sni: 127.0.0.1"),
        )
    ),
    case("auto-sni-san-validation", socket(CA, more="sni: server.test, auto_sni_san_validation: true"), shows="200"),
    case(
        "auto-sni-san-validation-other",
        socket(CA, more="sni: x.test, auto_sni_san_validation: true"),
        shows="503",
        differs=NO_ALERT_UPSTREAM,
    ),
    case("alpn", socket(CA, common="alpn_protocols: [http/1.1]"), peer(alpn=("http/1.1",)), shows="200"),
    case(
        "matched",
        "{name: raw, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}",
        peer(ca="ca"),
        cluster=MATCHES + ISTIO,
        shows="mutual.total_match_count: 1",
    ),
    case("matched-plain", socket(CA), {"up": Upstream()}, cluster=MATCHES, shows="plain.total_match_count: 1"),
    case("plain-text-peer", socket(CA), {"up": Upstream(((Act.CLOSE,),), mode="raw")}, shows="503", compare_log=False),
    case(
        "plain-text-peer-talks",
        socket(CA),
        {"up": Upstream((("HTTP/1.1 400 Bad Request\r\n\r\n", Act.CLOSE),), mode="raw")},
        shows="503",
        masks=HELLO,
    ),
    case(
        "peer-is-silent",
        socket(CA),
        {"up": Upstream(((5.0,),), mode="raw")},
        cluster="connect_timeout: 0.5s",
        shows="connection_timeout",
        masks=HELLO,
    ),
    *(
        case(
            f"peer-answers-{name}",
            socket(CA),
            {"up": Upstream(((0.2, *answer),), mode="raw")},
            masks=HELLO,
        )
        for name, answer in {
            "with-a-failure": ("\x15\x03\x03\x00\x02\x02\x28", 0.1, Act.CLOSE),
            "unknown-name": ("\x15\x03\x03\x00\x02\x02\x70", 0.1, Act.CLOSE),
            "goodbye": ("\x15\x03\x03\x00\x02\x01\x00", 0.1, Act.CLOSE),
            "with-a-reset": (Act.RESET,),
        }.items()
    ),
    case("one-authority-deep", socket(f"{CA}, max_verify_depth: 0")),
    case("refused", socket(CA), {"up": Upstream(mode="refuse")}, shows="Connection_refused"),
    case(
        "response-until-close",
        socket(CA),
        {"up": Upstream((("HTTP/1.1 200 OK\r\n\r\nall of it", Act.CLOSE),), tls=CERTS.server_context)},
        shows="all of it",
    ),
    case(
        "response-cut-short",
        socket(CA),
        {
            "up": Upstream(
                (("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all", Act.CLOSE),), tls=CERTS.server_context
            )
        },
    ),
    Case(
        "tls-up-tcp",
        clients=(Client(("hello", 0.3, " again", 0.3), raw=True, timing=False, quiet=0.7),),
        network="- tcp_proxy: {cluster: $up}",
        upstreams={"up": Upstream((("welcome ", 0.3, "and bye"),), mode="raw", tls=CERTS.server_context)},
        cluster=f"transport_socket: {socket(CA)}",
        log=LOG,
        stats=STATS,
        shows="welcome",
    ),
    Case(
        "tls-up-tcp-untrusted",
        clients=(Client(("hello",), raw=True, timing=False, quiet=0.7),),
        network="- tcp_proxy: {cluster: $up}",
        upstreams=peer("untrusted-server"),
        cluster=f"transport_socket: {socket(CA)}",
        log=LOG,
        stats=STATS,
        shows="UF",
    ),
]
