"""Clients' certificates where the rules are unusual: none to vouch for them, none that must, old versions, groups."""

from __future__ import annotations

import base64
import hashlib
import ssl
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.certificates import UPN

from ..case import Act, Case, Client, Op, Upstream
from .tls import (
    CA,
    CERTS,
    DIRECTORY,
    REQUIRED,
    SPIFFE,
    URI_PREFIX,
    V12,
    V13,
    case,
    certificate,
    downstream,
    parameters,
    tls_client,
)
from .tls_upstream import socket

_SPKI = CERTS.issued["client"].certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
HASH = f"verify_certificate_hash: [{hashlib.sha256(CERTS.issued['client'].der).hexdigest()}]"
SPKI = f"verify_certificate_spki: ['{base64.b64encode(hashlib.sha256(_SPKI).digest()).decode()}']"
UNTRUSTED = "trust_chain_verification: ACCEPT_UNTRUSTED"
FOREIGN_NAME = "match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: 'spiffe://nobody'}}]"
HCM = "{forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: {uri: true, subject: true}}"


def peers(name: str, validation: str, *certificates: str, required: bool = True, **more: object) -> list[Case]:
    context = REQUIRED if required else ""
    socket = downstream(validation=validation, context=context) if validation != "-" else downstream(context=context)
    label = name + ("" if required else "-optional")
    return [
        case(f"{label}-{certificate or 'none'}", socket, tls_client(name=certificate, version=V13), hcm=HCM)
        for certificate in certificates
    ]


BUNDLES = (
    "custom_validator_config: {name: envoy.tls.cert_validator.spiffe, typed_config: {'@type': "
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig, "
    f"trust_bundles: {{filename: {DIRECTORY}/bundles.json}}MORE}}}}"
)
DOMAINS = f", trust_domains: [{{name: cluster.local, trust_bundle: {{filename: {DIRECTORY}/ca2.pem}}}}]"

CASES = [
    *peers(
        "bundles",
        BUNDLES.replace("MORE", ""),
        *("", "client", "other-domain", "untrusted", "nameless", "foreign", "lower-client", "middle-client", "expired"),
    ),
    *peers("bundles", BUNDLES.replace("MORE", ""), "", "untrusted", required=False),
    *peers("bundles-intermediate", BUNDLES.replace("bundles.json}MORE", "bundles-lower.json}"), "lower-client"),
    *peers("bundles-intermediate-too", BUNDLES.replace("bundles.json}MORE", "bundles-both.json}"), "lower-client"),
    *peers("domains", SPIFFE, "", "client", required=False),
    *peers("bundles-before-domains", BUNDLES.replace("MORE", DOMAINS), "client", "untrusted", "other-domain"),
    *peers("hash-alone", HASH, "", "client", "untrusted", "nameless"),
    *peers("hash-alone", HASH, "", "client", "untrusted", required=False),
    *peers("spki-alone", SPKI, "", "client", "untrusted"),
    *peers("any-chain", f"{CA}, {UNTRUSTED}", "", "client", "untrusted", "expired", "server-only"),
    *peers("any-chain", f"{CA}, {UNTRUSTED}", "", "client", "untrusted", required=False),
    *peers("any-chain-names", f"{CA}, {UNTRUSTED}, {FOREIGN_NAME}", "", "client", "untrusted", required=False),
    *peers("any-chain-good-names", f"{CA}, {UNTRUSTED}, {URI_PREFIX}", "", "client", "untrusted"),
    *peers("any-chain-hash", f"{CA}, {UNTRUSTED}, {HASH}", "", "client", "untrusted", "nameless"),
    *peers("any-chain-no-authority", UNTRUSTED, "", "client", "untrusted"),
    *peers("any-chain-no-authority", UNTRUSTED, "", "client", "untrusted", required=False),
    *peers("hash-and-authority", f"{CA}, {HASH}", "untrusted", "client", "nameless"),
    *peers("chain", CA, "lower-client", "middle-alone", "p384"),
    *peers("chain-depth", f"{CA}, max_verify_depth: 1", "lower-client", "middle-client", "client"),
    *peers(
        "other-name",
        f"{CA}, match_typed_subject_alt_names: [{{san_type: OTHER_NAME, oid: {UPN}, matcher: {{suffix: '@mesh.test'}}}}]",
        "other-name",
        "client",
    ),
    *peers(
        "other-oid",
        f"{CA}, match_typed_subject_alt_names: [{{san_type: OTHER_NAME, oid: '1.2.3', matcher: {{suffix: '@mesh.test'}}}}]",
        "other-name",
    ),
]

GROUPS_LOG = "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_TLS_GROUP% %RESPONSE_CODE% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%\n"
GROUPS_STATS = (
    r"^listener\.127\.0\.0\.1_$port\.ssl\.(versions|ciphers|curves|sigalgs|handshake|connection_error|fail_.*)"
)


def agreed(name: str, socket: str, *clients: Client, **more: Any) -> Case:
    return case(name, socket, *clients, log=GROUPS_LOG, stats=GROUPS_STATS, **more)


OLD = "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"
OLD_SUITES = "cipher_suites: [ECDHE-ECDSA-AES128-GCM-SHA256, ECDHE-ECDSA-AES128-SHA, ECDHE-ECDSA-AES256-SHA]"
V10, V11 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1

CASES += [
    *(
        agreed(f"group-{group.lower()}-{label}", socket, tls_client(version=version, group=group))
        for group in ("X25519", "prime256v1", "secp384r1", "secp521r1", "X448")
        for version, label in ((V12, "12"), (V13, "13"))
        for socket in (downstream(),)
    ),
    agreed("groups-of-the-client", downstream()),
    agreed("group-configured", parameters("ecdh_curves: [P-384]")),
    agreed("group-configured-x25519", parameters("ecdh_curves: [X25519]")),
    agreed("groups-configured", parameters("ecdh_curves: [P-521, 'P-384:P-256']")),
    agreed("groups-configured-refuse", parameters("ecdh_curves: [P-521, P-384]"), tls_client(group="X25519")),
    agreed("signatures-configured", parameters("signature_algorithms: [ecdsa_secp256r1_sha256]")),
    agreed("signatures-configured-12", parameters("signature_algorithms: ['ECDSA+SHA256']"), tls_client(version=V12)),
    agreed("signatures-that-do-not-fit", parameters("signature_algorithms: [rsa_pss_rsae_sha256]")),
    agreed("signature-of-the-client", downstream(validation=CA, context=REQUIRED), tls_client(name="client")),
    agreed(
        "signature-of-the-client-p384",
        downstream(validation=CA, context=REQUIRED),
        tls_client(name="p384", version=V12),
    ),
    agreed(
        "signature-of-the-client-p384-13",
        downstream(validation=CA, context=REQUIRED),
        tls_client(name="p384", version=V13),
    ),
    agreed(
        "old-10",
        parameters(f"tls_minimum_protocol_version: TLSv1_0, {OLD_SUITES}"),
        tls_client(version=V10, ciphers=OLD),
    ),
    agreed(
        "old-11",
        parameters(f"tls_minimum_protocol_version: TLSv1_0, {OLD_SUITES}"),
        tls_client(version=V11, ciphers=OLD),
    ),
    agreed(
        "old-11-refuses-10",
        parameters(f"tls_minimum_protocol_version: TLSv1_1, {OLD_SUITES}"),
        tls_client(version=V10, ciphers=OLD),
    ),
    agreed("old-allows-new", parameters(f"tls_minimum_protocol_version: TLSv1_0, {OLD_SUITES}")),
    agreed(
        "old-without-suites", parameters("tls_minimum_protocol_version: TLSv1_0"), tls_client(version=V11, ciphers=OLD)
    ),
]

FAILURE_LOG = (
    'access_log: [{file_log: {path: $dir/$case.log, log_format: {text_format_source: {inline_string: "'
    '%DOWNSTREAM_TLS_VERSION% %RESPONSE_FLAGS% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%\\n"}}}}]'
)


def failing(name: str, socket: str, *clients: Client, **more: Any) -> Case:
    """What the listener's own log says of handshakes that come to nothing."""
    return case(f"failure-{name}", socket, *clients, log="", listener=FAILURE_LOG, stats=GROUPS_STATS, **more)


def raw(*pieces: Op) -> Client:
    return Client(pieces, raw=True, timing=False, quiet=0.5)


NAMED = downstream(validation=f"{CA}, {URI_PREFIX}", context=REQUIRED)
PINNED = downstream(validation=f"{CA}, {HASH}", context=REQUIRED)
MUTUAL = downstream(validation=CA, context=REQUIRED)
EXPIRY = r"^(listener\.127\.0\.0\.1_$port|cluster\.$case\.up)\.ssl\.certificate"
CASES += [
    case(
        "expiry-is-told", downstream(certificates=certificate("two"), validation=CA), stats=EXPIRY, shows="expiration"
    ),
    case(
        "expiry-is-told-of-upstreams",
        downstream(),
        upstreams={"up": Upstream(tls=CERTS.server_context)},
        cluster=f"transport_socket: {socket(CA, certificate='client')}",
        stats=EXPIRY,
        shows="expiration",
    ),
    failing("too-old", downstream(), tls_client(version=V11, ciphers=OLD)),
    failing("plain-text", downstream(), raw("GET / HTTP/1.1\r\n\r\n")),
    failing("nothing-said", downstream(), raw(0.1, Act.CLOSE)),
    failing("half-a-record", downstream(), raw("\x16\x03", 0.1, Act.CLOSE)),
    failing("distrusted", downstream(), tls_client(ca="ca2", version=V12)),
    failing("none-12", MUTUAL, tls_client(version=V12)),
    failing("none-13", MUTUAL, tls_client(version=V13)),
    failing("untrusted", MUTUAL, tls_client(name="untrusted")),
    failing("expired-12", MUTUAL, tls_client(name="expired", version=V12)),
    failing("foreign", NAMED, tls_client(name="foreign")),
    failing("pinned", PINNED, tls_client(name="foreign")),
    failing("none-in-common", parameters("tls_minimum_protocol_version: TLSv1_3"), tls_client(version=V12)),
    failing("bad-request", downstream(), tls_client("GET /\r\n\r\n")),
    failing("good-request", downstream()),
]
