"""TLS towards clients: which handshakes succeed, which certificate is shown, what the log and the upstream are told."""

from __future__ import annotations

import hashlib
import ssl
from functools import partial
from typing import Any

from tests.certificates import ID, folder

from ..case import Case, Client, Op, Slow, Upstream, get, raw
from ..known import EQUAL_SUITES, NO_ALERT, SNI_IS_REQUIRED

CERTS = folder()
DIRECTORY = str(CERTS.path)
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

OPERATORS = (
    "PROTOCOL",
    "RESPONSE_CODE",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TLS_CIPHER",
    "REQUESTED_SERVER_NAME",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
)
LOG = " ".join(f"{name}=%{name}%" for name in OPERATORS) + "\n"
STATS = (
    r"^(listener\.127\.0\.0\.1_$port\.ssl\.(handshake|connection_error|no_certificate|fail_verify_.*|session_reused"
    r"|versions.*|ciphers.*)$|http\.$case\.downstream_(cx_active|rq_2xx)$)"
)


def certificate(name: str) -> str:
    return f"{{certificate_chain: {{filename: {DIRECTORY}/{name}.pem}}, private_key: {{filename: {DIRECTORY}/{name}.key}}}}"


def downstream(common: str = "", *, certificates: str = "", context: str = "", validation: str = "") -> str:
    """A transport socket in flow style. validation: fields of a CertificateValidationContext."""
    inside = [f"tls_certificates: [{certificates or certificate('server')}]"]
    if validation:
        inside.append(f"validation_context: {{{validation}}}")
    if common:
        inside.append(common)
    outside = f", {context}" if context else ""
    return (
        "{name: tls, typed_config: {'@type': "
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, "
        f"common_tls_context: {{{', '.join(inside)}}}{outside}}}}}"
    )


CA = f"trusted_ca: {{filename: {DIRECTORY}/ca.pem}}"
URI_PREFIX = "match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: 'spiffe://cluster.local/'}}]"
REQUIRED = "require_client_certificate: true"


def tls_client(*ops: Op, name: str = "", server_name: str = "server.test", raw: bool = False, **options: Any) -> Client:
    options.setdefault("ciphers", CLIENT_SUITES)  # the default order is another one with each build of Python
    return Client(
        ops or (get("/x"),),
        tls=partial(CERTS.client_context, name, **options),
        server_name=server_name,
        raw=raw,
        timing=False,
        quiet=0.7,
    )


def case(
    name: str, socket: str, *clients: Client, hcm: str = "{}", shows: str = "", listener: str = "", **more: Any
) -> Case:
    more.setdefault("log", LOG)
    more.setdefault("stats", STATS)
    return Case(
        f"tls-{name}",
        clients=clients or (tls_client(),),
        chains=f"- filters: [{{hcm: {hcm}}}]\n  transport_socket: {socket}",
        listener=listener,
        shows=shows,
        **more,
    )


MUTUAL = downstream(validation=CA, context=REQUIRED)
OPTIONAL = downstream(validation=CA)
NAMED = downstream(validation=f"{CA}, {URI_PREFIX}", context=REQUIRED)


def named(kind: str, matcher: str) -> str:
    rule = f"match_typed_subject_alt_names: [{{san_type: {kind}, matcher: {{{matcher}}}}}]"
    return downstream(validation=f"{CA}, {rule}", context=REQUIRED)


def parameters(text: str) -> str:
    return downstream(f"tls_params: {{{text}}}")


BOTH = ", ".join((certificate("server"), certificate("two")))
KINDS = ", ".join((certificate("server-rsa"), certificate("server")))
CLIENT_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES"
SUITES = "ECDHE-ECDSA-AES128-GCM-SHA256,ECDHE-ECDSA-CHACHA20-POLY1305"
RSA_ONLY = "ECDHE-RSA-AES128-GCM-SHA256"
XFCC = "x-forwarded-client-cert: By=spiffe://old;Hash=00"


def xfcc(mode: str, details: str = "", *, certificate: str = "client", sent: bool = True) -> Case:
    detail = f", set_current_client_cert_details: {{{details}}}" if details else ""
    label = "-".join(part for part in (mode.lower(), certificate or "none", "" if sent else "fresh") if part)
    label += "".join(f"-{word.partition(':')[0].strip()}" for word in details.split(",") if word)
    request = get("/x", XFCC) if sent else get("/x")
    return case(
        f"xfcc-{label}",
        OPTIONAL,
        tls_client(request, name=certificate),
        hcm=f"{{forward_client_cert_details: {mode}{detail}}}",
    )


SPIFFE = (
    "custom_validator_config: {name: envoy.tls.cert_validator.spiffe, typed_config: {'@type': "
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig, trust_domains: ["
    f"{{name: cluster.local, trust_bundle: {{filename: {DIRECTORY}/ca.pem}}}}, "
    f"{{name: other.domain, trust_bundle: {{filename: {DIRECTORY}/ca2.pem}}}}]}}}}"
)
SPIFFE_SOCKET = downstream(validation=SPIFFE, context=REQUIRED)
CRL = downstream(validation=f"{CA}, crl: {{filename: {DIRECTORY}/crl.pem}}", context=REQUIRED)
DETAILS = "subject: true, dns: true, uri: true"

INSPECTOR = "- tls_inspector: {}\n- http_inspector: {}"
PERMISSIVE = f"""
- filter_chain_match: {{transport_protocol: tls, application_protocols: [istio-http/1.1]}}
  filters: [{{hcm: {{forward_client_cert_details: APPEND_FORWARD, set_current_client_cert_details: {{uri: true}}}}}}]
  transport_socket: {NAMED.replace("common_tls_context: {", "common_tls_context: {alpn_protocols: [istio-http/1.1], ")}
- filter_chain_match: {{transport_protocol: tls, application_protocols: [istio]}}
  filters: [{{tcp_proxy: {{cluster: $up}}}}]
  transport_socket: {NAMED.replace("common_tls_context: {", "common_tls_context: {alpn_protocols: [istio], ")}
- filter_chain_match: {{transport_protocol: raw_buffer}}
  filters: [{{hcm: {{forward_client_cert_details: APPEND_FORWARD}}}}]
"""
BY_SNI = f"""
- filter_chain_match: {{server_names: [server.test]}}
  filters: [{{hcm: {{}}}}]
  transport_socket: {downstream()}
- filter_chain_match: {{server_names: ["*.two.test"]}}
  filters: [{{hcm: {{}}}}]
  transport_socket: {downstream(certificates=certificate("two"))}
"""


def permissive(name: str, *clients: Client, chains: str = PERMISSIVE, shows: str = "", **more: Any) -> Case:
    return Case(
        f"tls-{name}",
        clients=clients,
        chains=chains,
        listener_filters=INSPECTOR,
        log=LOG,
        stats=STATS,
        shows=shows,
        timing=False,
        **more,
    )


CASES = [
    permissive("permissive-plain", Client((get("/x", XFCC),), timing=False, quiet=0.7), shows="200 OK"),
    permissive(
        "permissive-mutual",
        tls_client(name="client", alpn=("istio-http/1.1",)),
        shows="REQUESTED_SERVER_NAME=server.test",
    ),
    permissive(
        "permissive-mutual-tcp",
        tls_client("hello", 0.3, name="client", alpn=("istio",), raw=True),
        upstreams=raw("welcome"),
        shows="welcome",
    ),
    permissive("permissive-mutual-foreign", tls_client(name="foreign", alpn=("istio-http/1.1",)), shows="san: 1"),
    permissive("by-sni", tls_client(), chains=BY_SNI, shows="server.test"),
    permissive("by-sni-wildcard", tls_client(server_name="x.two.test"), chains=BY_SNI, shows="two.test"),
    permissive("by-sni-none-fits", tls_client(server_name="three.test"), chains=BY_SNI),
    # Versions, suites, ALPN.
    case("plain-13", downstream(), tls_client(version=V13), shows="TLSv1.3"),
    case("plain-12", downstream(), tls_client(version=V12), shows="TLSv1.2"),
    *(
        case(f"suite-order-{name}", options, tls_client(version=V12, ciphers=f"ECDHE-ECDSA-{order}"))
        for order in (
            "CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256",
            "AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305",
        )
        for name, options in (
            (f"{order[:3].lower()}", downstream()),
            (f"{order[:3].lower()}-equals", parameters(f"cipher_suites: ['[{SUITES.replace(',', '|')}]']")),
            (f"{order[:3].lower()}-one-by-one", parameters(f"cipher_suites: [{SUITES}]")),
        )
    ),
    case(
        "suite-order-chacha-second",
        downstream(),
        tls_client(
            version=V12,
            ciphers="ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        differs=EQUAL_SUITES,
    ),
    case("keep-alive", downstream(), tls_client(get("/1"), 0.2, get("/2"), 0.2, get("/3")), shows="/3"),
    case("max-12", parameters("tls_maximum_protocol_version: TLSv1_2"), shows="TLSv1.2"),
    case("min-13-refuses-12", parameters("tls_minimum_protocol_version: TLSv1_3"), tls_client(version=V12)),
    case("max-12-refuses-13", parameters("tls_maximum_protocol_version: TLSv1_2"), tls_client(version=V13)),
    *(
        case(f"suite-{suite.lower()}", downstream(), tls_client(version=V12, ciphers=suite))
        for suite in (
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDHE-ECDSA-AES128-SHA256",
            "ECDHE-ECDSA-AES256-SHA",
            "ECDHE-ECDSA-AES128-CCM",
            RSA_ONLY,
        )
    ),
    case(
        "configured-suites",
        parameters(
            "tls_maximum_protocol_version: TLSv1_2, cipher_suites: ['[ECDHE-ECDSA-AES256-GCM-SHA384|ECDHE-ECDSA-CHACHA20-POLY1305]']"
        ),
        shows="ECDHE-ECDSA-AES256-GCM-SHA384",
    ),
    case(
        "configured-suites-refuse",
        parameters("cipher_suites: [ECDHE-ECDSA-AES256-GCM-SHA384]"),
        tls_client(version=V12, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"),
    ),
    case(
        "alpn-servers-order",
        downstream("alpn_protocols: [istio-http/1.1, http/1.1]"),
        tls_client(alpn=("http/1.1", "istio-http/1.1")),
        shows="alpn=istio-http/1.1",
    ),
    case(
        "alpn-joined-by-a-comma",
        downstream("alpn_protocols: ['istio-http/1.1,http/1.1']"),
        tls_client(alpn=("http/1.1",)),
        shows="alpn=http/1.1",
    ),
    case("alpn-none-in-common", downstream("alpn_protocols: [http/1.1]"), tls_client(alpn=("spdy",))),
    case("alpn-not-offered", downstream("alpn_protocols: [http/1.1]")),
    # Client certificates.
    case("mutual", MUTUAL, tls_client(name="client"), shows=ID + "client"),
    case("mutual-12", MUTUAL, tls_client(name="client", version=V12), shows=ID + "client"),
    case("mutual-through-intermediate", MUTUAL, tls_client(name="middle-client"), shows="middle"),
    case("mutual-none", MUTUAL, tls_client(), shows="fail_verify_no_cert: 1"),
    case("mutual-none-12", MUTUAL, tls_client(version=V12), shows="fail_verify_no_cert: 1"),
    case("mutual-untrusted", MUTUAL, tls_client(name="untrusted"), shows="fail_verify_error: 1"),
    case("mutual-untrusted-12", MUTUAL, tls_client(name="untrusted", version=V12), shows="fail_verify_error: 1"),
    case("mutual-expired", MUTUAL, tls_client(name="expired"), shows="fail_verify_error: 1"),
    case("mutual-not-yet-valid", MUTUAL, tls_client(name="future"), shows="fail_verify_error: 1"),
    case("mutual-wrong-purpose", MUTUAL, tls_client(name="server-only"), shows="fail_verify_error: 1"),
    case("mutual-client-purpose", MUTUAL, tls_client(name="client-only"), shows=ID),
    case(
        "mutual-expired-allowed",
        downstream(validation=f"{CA}, allow_expired_certificate: true", context=REQUIRED),
        tls_client(name="expired"),
        shows=ID,
    ),
    case("optional-none", OPTIONAL, tls_client(), shows="no_certificate: 1"),
    case("optional-given", OPTIONAL, tls_client(name="client"), shows=ID + "client"),
    case("optional-untrusted", OPTIONAL, tls_client(name="untrusted"), shows="fail_verify_error: 1"),
    case("not-asked", downstream(), tls_client(name="client")),
    # Names and hashes.
    case("name", NAMED, tls_client(name="client"), shows=ID + "client"),
    case("name-foreign", NAMED, tls_client(name="foreign"), shows="fail_verify_san: 1"),
    case(
        "name-foreign-12", NAMED, tls_client(name="foreign", version=V12), shows="fail_verify_san: 1", differs=NO_ALERT
    ),
    case("name-none", NAMED, tls_client(name="nameless"), shows="fail_verify_san: 1"),
    case(
        "name-makes-it-required",
        downstream(validation=f"{CA}, {URI_PREFIX}", context="require_client_certificate: false"),
        tls_client(),
        shows="fail_verify_no_cert: 1",
    ),
    case("name-uri-exact", named("URI", f"exact: '{ID}client'"), tls_client(name="client"), shows="rq_2xx: 1"),
    case("name-uri-suffix", named("URI", "suffix: /client"), tls_client(name="client"), shows="rq_2xx: 1"),
    case(
        "name-uri-regex",
        named("URI", "safe_regex: {regex: 'spiffe://[^/]+/.*/client'}"),
        tls_client(name="client"),
        shows="rq_2xx: 1",
    ),
    case(
        "name-uri-regex-is-whole",
        named("URI", "safe_regex: {regex: 'spiffe://[^/]+'}"),
        tls_client(name="client"),
        shows="san: 1",
    ),
    case("name-uri-contains", named("URI", "contains: default"), tls_client(name="client"), shows="rq_2xx: 1"),
    case("name-dns-exact", named("DNS", "exact: client2.test"), tls_client(name="client"), shows="rq_2xx: 1"),
    case("name-dns-wildcard", named("DNS", "exact: a.wild.test"), tls_client(name="client-only"), shows="rq_2xx: 1"),
    case(
        "name-dns-wildcard-two-labels",
        named("DNS", "exact: a.b.wild.test"),
        tls_client(name="client-only"),
        shows="san: 1",
    ),
    case("name-dns-wildcard-itself", named("DNS", "exact: wild.test"), tls_client(name="client-only"), shows="san: 1"),
    case("name-dns-case", named("DNS", "exact: CLIENT.test"), tls_client(name="client")),
    case("name-dns-not-uri", named("DNS", "prefix: 'spiffe://'"), tls_client(name="client"), shows="san: 1"),
    case("name-ip", named("IP_ADDRESS", "exact: 127.0.0.1"), tls_client(name="client-only"), shows="rq_2xx: 1"),
    case("name-email", named("EMAIL", "exact: a@b.test"), tls_client(name="client"), shows="rq_2xx: 1"),
    case(
        "hash",
        downstream(
            validation=f"{CA}, verify_certificate_hash: [{hashlib.sha256(CERTS.issued['client'].der).hexdigest()}]"
        ),
        tls_client(name="client"),
        shows="rq_2xx: 1",
    ),
    case(
        "hash-other",
        downstream(validation=f"{CA}, verify_certificate_hash: ['{'00' * 32}']"),
        tls_client(name="client"),
        shows="fail_verify_cert_hash: 1",
    ),
    case("crl", CRL, tls_client(name="client"), shows="rq_2xx: 1"),
    case("crl-revoked", CRL, tls_client(name="revoked"), shows="fail_verify_error: 1"),
    case(
        "depth-enough",
        downstream(validation=f"{CA}, max_verify_depth: 2", context=REQUIRED),
        tls_client(name="middle-client"),
        shows="rq_2xx: 1",
    ),
    case(
        "depth-too-small",
        downstream(validation=f"{CA}, max_verify_depth: 1", context=REQUIRED),
        tls_client(name="middle-client"),
        shows="fail_verify_error: 1",
    ),
    case("spiffe", SPIFFE_SOCKET, tls_client(name="client"), shows="rq_2xx: 1"),
    case("spiffe-other-domain", SPIFFE_SOCKET, tls_client(name="other-domain"), shows="rq_2xx: 1"),
    case("spiffe-wrong-authority", SPIFFE_SOCKET, tls_client(name="untrusted"), shows="fail_verify_error: 1"),
    case("spiffe-no-id", SPIFFE_SOCKET, tls_client(name="nameless"), shows="fail_verify_error: 1"),
    # Choosing a certificate.
    case("sni-first", downstream(certificates=BOTH), tls_client(server_name="server.test"), shows="server.test"),
    case("sni-second", downstream(certificates=BOTH), tls_client(server_name="two.test"), shows="two.test"),
    case("sni-wildcard", downstream(certificates=BOTH), tls_client(server_name="a.two.test"), shows="two.test"),
    case(
        "sni-wildcard-first", downstream(certificates=BOTH), tls_client(server_name="a.wild.test"), shows="server.test"
    ),
    case("sni-unknown", downstream(certificates=BOTH), tls_client(server_name="none.test"), shows="server.test"),
    case("sni-none", downstream(certificates=BOTH), tls_client(server_name=""), shows="server.test"),
    case("sni-required", downstream(context="require_sni: true"), tls_client(server_name="server.test")),
    case(
        "sni-required-none",
        downstream(context="require_sni: true"),
        tls_client(server_name=""),
        differs=SNI_IS_REQUIRED,
    ),
    case(
        "kind-rsa",
        downstream(certificates=KINDS),
        tls_client(version=V12, ciphers=RSA_ONLY),
        shows=RSA_ONLY,
    ),
    case(
        "kind-ecdsa",
        downstream(certificates=KINDS),
        tls_client(version=V12, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"),
        shows="ECDHE-ECDSA-AES128-GCM-SHA256",
    ),
    # What isn't TLS, or isn't all of it.
    Case(
        "tls-plain-text-instead",
        send=get("/x"),
        chains=f"- filters: [{{hcm: {{}}}}]\n  transport_socket: {downstream()}",
        log=LOG,
        stats=STATS,
        timing=False,
    ),
    Case(
        "tls-garbage-instead",
        clients=(Client(("\x16\x03\x01\x00\x05hello",), raw=True, timing=False, quiet=0.7),),
        chains=f"- filters: [{{hcm: {{}}}}]\n  transport_socket: {downstream()}",
        log=LOG,
        stats=STATS,
        masks=((r"\\x15[^']*", "<alert>"),),
    ),
    case(
        "handshake-timeout",
        downstream() + "\n  transport_socket_connect_timeout: 0.5s",
        Client((Slow("\x16\x03"),), raw=True, quiet=1.5),
        stats=r"^listener\.127\.0\.0\.1_$port\.(ssl\.(handshake|connection_error)|downstream_cx_(transport.*|active|total))$",
        shows="downstream_cx_transport_socket_connect_timeout: 1",
    ),
    # X-Forwarded-Client-Cert.
    xfcc("SANITIZE"),
    xfcc("FORWARD_ONLY"),
    xfcc("FORWARD_ONLY", certificate=""),
    xfcc("ALWAYS_FORWARD_ONLY"),
    xfcc("ALWAYS_FORWARD_ONLY", certificate=""),
    xfcc("APPEND_FORWARD"),
    xfcc("APPEND_FORWARD", certificate=""),
    xfcc("APPEND_FORWARD", DETAILS),
    xfcc("APPEND_FORWARD", DETAILS, sent=False),
    xfcc("APPEND_FORWARD", DETAILS, certificate="nameless"),
    xfcc("SANITIZE_SET"),
    xfcc("SANITIZE_SET", DETAILS),
    xfcc("SANITIZE_SET", "cert: true, chain: true", certificate="middle-client"),
    xfcc("SANITIZE_SET", DETAILS, certificate=""),
    Case(
        "tls-xfcc-plain-text-always-forward",
        send=get("/x", XFCC),
        hcm="forward_client_cert_details: ALWAYS_FORWARD_ONLY",
        timing=False,
    ),
    Case(
        "tls-xfcc-plain-text-append",
        send=get("/x", XFCC),
        hcm="forward_client_cert_details: APPEND_FORWARD",
        timing=False,
    ),
    # Raw bytes over TLS, and a redirect.
    Case(
        "tls-tcp",
        clients=(tls_client("hello", 0.2, " again", name="client", raw=True),),
        chains=f"- filters: [{{tcp_proxy: {{cluster: $up}}}}]\n  transport_socket: {MUTUAL}",
        upstreams=raw("welcome ", 0.3, "and bye"),
        log=LOG,
        stats=STATS,
        shows="welcome",
    ),
    case(
        "require-tls-is-met",
        downstream(),
        vhost="require_tls: ALL",
        shows="200 OK",
    ),
    case(
        "big-response",
        downstream(),
        upstreams={"up": Upstream((("HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + "y" * 300000,),))},
    ),
    case("big-request", downstream(), tls_client(get("/x", method="POST", body="z" * 200000))),
]
