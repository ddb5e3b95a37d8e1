"""Clients' certificates with names that few have: what the log and X-Forwarded-Client-Cert make of them.

The names are written in DER by hand: libraries that make certificates refuse such names, those that read them take them.
"""

from __future__ import annotations

import base64
import ssl
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.certificates import Authority, Issued

from ..case import Case, Client, Difference, get
from ..known import CONTROLS_IN_NAMES
from .tls import CERTS, LOG, V12, case, downstream

_UTF8, _PRINTABLE, _T61, _IA5, _UNIVERSAL, _BMP = 12, 19, 20, 22, 28, 30
_EMAIL, _DNS, _URI, _IP, _OTHER = 0x81, 0x82, 0x86, 0x87, 0xA0
_DETAILS = "subject: true, dns: true, uri: true"
AUTHORITY = Authority("odd")
(CERTS.path / "odd-ca.pem").write_bytes(AUTHORITY.pem)


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    length = bytes([size]) if size < 128 else bytes([128 | len(digits)]) + digits
    return bytes([tag]) + length + content


def part(*attributes: tuple[bytes, int, bytes]) -> bytes:
    """One part of a distinguished name: object identifiers, kinds of strings, and what they hold."""
    return der(0x31, *sorted(der(0x30, der(6, oid), der(tag, value)) for oid, tag, value in attributes))


CN, COUNTRY, ORG, DN_QUALIFIER = b"\x55\x04\x03", b"\x55\x04\x06", b"\x55\x04\x0a", b"\x55\x04\x2e"
ORGANIZATION_ID, UNKNOWN = b"\x55\x04\x61", b"\x2a\x03\x04"


def issue(name: str, subject: bytes, *alternative: tuple[int, bytes]) -> None:
    """A certificate `name` of our folder, with this subject."""
    names = der(0x30, *(der(tag, value) for tag, value in alternative))
    plain = AUTHORITY.issue("x")
    builder = (
        x509.CertificateBuilder()
        .subject_name(plain.certificate.subject)
        .issuer_name(AUTHORITY.name)
        .public_key(plain.key.public_key())
        .serial_number(plain.certificate.serial_number)
        .not_valid_before(plain.certificate.not_valid_before_utc)
        .not_valid_after(plain.certificate.not_valid_after_utc)
        .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), names), False)
    )
    signed = builder.sign(AUTHORITY.key, hashes.SHA256())
    before = plain.certificate.subject.public_bytes()
    wanted = signed.tbs_certificate_bytes[4:].replace(before, der(0x30, subject), 1)  # behind tag and length
    tbs = der(0x30, wanted)
    algorithm = der(0x30, der(6, b"\x2a\x86\x48\xce\x3d\x04\x03\x02"))  # ecdsa-with-SHA256
    whole = der(0x30, tbs, algorithm, der(3, b"\0", AUTHORITY.key.sign(tbs, ec.ECDSA(hashes.SHA256()))))
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(whole) + b"-----END CERTIFICATE-----\n"
    Issued(plain.certificate, plain.key, ()).write(CERTS.path, name)
    (CERTS.path / f"{name}.pem").write_bytes(pem)


def _client(name: str) -> ssl.SSLContext:
    return CERTS.client_context(name, version=V12, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")


def odd(
    name: str, subject: bytes, *alternative: tuple[int, bytes], differs: Difference | None = None, rule: str = ""
) -> Case:
    issue(f"odd-{name}", subject, *alternative)
    return case(
        f"odd-{name}",
        downstream(validation=f"trusted_ca: {{filename: {CERTS.path}/odd-ca.pem}}{rule}"),
        Client((get("/x"),), tls=partial(_client, f"odd-{name}"), server_name="server.test", timing=False, quiet=0.4),
        hcm=f"{{forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: {{{_DETAILS}}}}}",
        log=LOG,
        differs=differs,
    )


def exactly(kind: str, name: str) -> str:
    return f", match_typed_subject_alt_names: [{{san_type: {kind}, matcher: {{exact: '{name}'}}}}]"


STRINGS = ((_UTF8, "utf-8"), (_T61, "latin-1"), (_BMP, "utf-16-be"), (_UNIVERSAL, "utf-32-be"))
CASES = [
    odd("printable-beyond-its-set", part((CN, _PRINTABLE, b"*.a_b@c&d'")), (_DNS, b"a_b.test")),
    odd(
        "several-in-a-part",
        part((CN, _UTF8, b"b"), (ORG, _UTF8, b"a"), (COUNTRY, _PRINTABLE, b"XY")) + part((ORG, _UTF8, b"z")),
    ),
    odd(
        "unknown-parts", part((ORGANIZATION_ID, _UTF8, b"PSD")) + part((UNKNOWN, _IA5, b"x")) + part((CN, _UTF8, b"c"))
    ),
    odd("known-part-that-is-no-text", part((CN, 4, b"\x01\x02")) + part((DN_QUALIFIER, _UTF8, b"q"))),
    odd("kinds-of-strings", b"".join(part((CN, tag, "é".encode(code))) for tag, code in STRINGS)),
    odd(
        "escapes", part((CN, _UTF8, b' a,b+c"d\\e;f<g>= ')) + part((ORG, _UTF8, b"#x\x7f\t")) + part((ORG, _UTF8, b""))
    ),
    odd("no-names", b""),
    odd("uri-with-separators", b"", (_URI, b'urn:a;b=c,"d"'), (_URI, b"spiffe://x/a\\b"), (_DNS, b"a;URI=b")),
    odd("beyond-ascii", b"", (_URI, "spiffe://td/é".encode()), (_DNS, b"\xff\xfe"), (_EMAIL, "ü@b".encode())),
    odd("beyond-ascii-wanted", b"", (_URI, "spiffe://td/é".encode()), rule=exactly("URI", "spiffe://td/é")),
    odd("beyond-ascii-unwanted", b"", (_URI, b"spiffe://td/e"), rule=exactly("URI", "spiffe://td/é")),
    odd(
        "addresses", b"", (_IP, bytes(10) + b"\xff\xff\1\2\3\4"), (_IP, bytes(16)), (_IP, b"\1\2\3"), (_IP, b"\1\2\3\4")
    ),
    odd("control-characters", b"", (_URI, b"spiffe://x/\ty"), (_DNS, b"a\0.test"), differs=CONTROLS_IN_NAMES),
]
