"""What certificates say, as logs, headers and rules want it.

A certificate is parsed from its DER once and remembered: peers of a mesh come again and again with the same one. Names
that hold control characters are dropped, so that they match nothing and can't break a line or a header (NUL and CRLF in
names: CVE-2025-66220, CVE-2026-47778, CVE-2023-27493).
"""

from __future__ import annotations

import hashlib
import urllib.parse
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning

_REMEMBERED = 1024
_NAME_OIDS = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.42": "GN",
    "2.5.4.46": "dnQualifier",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
    "1.2.840.113549.1.9.1": "emailAddress",
}


_SUBJECT_ALT_NAME = "2.5.29.17"


class CertificateFacts:
    """One certificate. SANs in the order in which they stand there."""

    __slots__ = (
        "common_name",
        "der",
        "dns",
        "email",
        "fingerprint_1",
        "fingerprint_256",
        "ip",
        "is_rsa",
        "issuer",
        "must_staple",
        "not_after",
        "not_before",
        "oids",
        "other",
        "pem",
        "serial",
        "signs",
        "spki_256",
        "subject",
        "uri",
    )

    @property
    def is_nameless(self) -> bool:
        """Whether it has neither a common name nor alternative names."""
        return not self.common_name and _SUBJECT_ALT_NAME not in self.oids

    def __init__(self, der: bytes) -> None:
        """Raises ValueError for what is no certificate."""
        certificate = x509.load_der_x509_certificate(der)
        self.der = der
        self.fingerprint_256 = hashlib.sha256(der).hexdigest()
        self.fingerprint_1 = hashlib.sha1(der, usedforsecurity=False).hexdigest()
        self.serial = serial_text(certificate.serial_number)
        self.subject = name_text(certificate.subject)
        self.issuer = name_text(certificate.issuer)
        self.not_before = certificate.not_valid_before_utc.timestamp()
        self.not_after = certificate.not_valid_after_utc.timestamp()
        self.pem = certificate.public_bytes(Encoding.PEM).decode("ascii")
        key = certificate.public_key()
        self.is_rsa = isinstance(key, rsa.RSAPublicKey)
        self.spki_256 = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
        self.common_name = _common_name(certificate)
        names = _alternative_names(certificate)
        self.uri = tuple(filter(_printable, names.get_values_for_type(x509.UniformResourceIdentifier)))
        self.dns = tuple(filter(_printable, names.get_values_for_type(x509.DNSName)))
        self.ip = tuple(str(address) for address in names.get_values_for_type(x509.IPAddress))
        self.email = tuple(filter(_printable, names.get_values_for_type(x509.RFC822Name)))
        self.other = tuple(_other_names(names))
        self.oids = tuple(extension.oid.dotted_string for extension in certificate.extensions)
        self.signs = _may_sign(certificate)
        self.must_staple = _must_staple(certificate)

    @property
    def url_encoded_pem(self) -> str:
        return urllib.parse.quote(self.pem, safe="")


def serial_text(number: int) -> str:
    """A serial number in lower-case hex, with whole bytes."""
    text = f"{abs(number):x}"
    return f"{'-' if number < 0 else ''}{'0' * (len(text) % 2)}{text}"


def _printable(name: str) -> bool:
    return name.isascii() and name.isprintable()


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


_STRINGS = {
    12: "utf-8",
    18: "ascii",
    19: "ascii",
    20: "latin-1",
    22: "ascii",
    26: "ascii",
    28: "utf-32-be",
    30: "utf-16-be",
}
"""How the text of ASN.1's kinds of strings is encoded, by their tags (X.680 section 8.4)."""


def _other_names(names: x509.SubjectAlternativeName) -> Iterator[tuple[str, str]]:
    """Their kinds, as dotted OIDs, and their texts; without those that have none."""
    for name in names.get_values_for_type(x509.OtherName):
        text = _text_of(name.value)
        if text is not None and _printable(text):
            yield name.type_id.dotted_string, text


def _text_of(der: bytes) -> str | None:
    """The text of an ASN.1 string; None for anything else."""
    encoding = _STRINGS.get(der[0]) if len(der) > 1 else None
    if encoding is None:
        return None
    try:
        return der[2 if der[1] < 128 else 2 + (der[1] & 127) :].decode(encoding)
    except UnicodeDecodeError:
        return None


def _common_name(certificate: x509.Certificate) -> str:
    values = [str(each.value) for each in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    return values[0] if values and _printable(values[0]) else ""


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        return True


def _must_staple(certificate: x509.Certificate) -> bool:
    try:
        features = certificate.extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in features


def name_text(name: x509.Name) -> str:
    """A distinguished name as OpenSSL prints it for RFC 2253: last part first."""
    parts = []
    for part in reversed(list(name.rdns)):
        parts.append("+".join(f"{_attribute(each.oid)}={_escape(str(each.value))}" for each in part))
    return ",".join(parts)


def _attribute(oid: x509.ObjectIdentifier) -> str:
    return _NAME_OIDS.get(oid.dotted_string, oid.dotted_string)


def _escape(value: str) -> str:
    """RFC 2253 section 2.4; control characters and everything beyond ASCII as hex pairs of their UTF-8."""
    escaped = []
    last = len(value) - 1
    for position, character in enumerate(value):
        if character in ',+"\\<>;' or (position == 0 and character in "# ") or (position == last and character == " "):
            escaped.append("\\" + character)
        elif character.isascii() and character.isprintable():
            escaped.append(character)
        else:
            escaped.append("".join(f"\\{byte:02X}" for byte in character.encode()))
    return "".join(escaped)


# What `cryptography` has against certificates that are well-formed DER but no use, beside ValueError.
_ODD = (
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)
_known: OrderedDict[bytes, CertificateFacts] = OrderedDict()


def facts_of(der: bytes) -> CertificateFacts:
    """The facts of a certificate, remembered for the last thousand. Raises ValueError for what is none."""
    found = _known.get(der)
    if found is None:
        try:
            with warnings.catch_warnings():
                # Serial numbers that RFC 5280 forbids, such as an old root's 0: OpenSSL judges, we only read.
                warnings.simplefilter("ignore", CryptographyDeprecationWarning)
                found = CertificateFacts(der)
        except _ODD as error:
            raise ValueError(f"a certificate that can't be read: {type(error).__name__}") from None
        _known[der] = found
        if len(_known) > _REMEMBERED:
            _known.popitem(last=False)
    else:
        _known.move_to_end(der)
    return found


def peer_facts(chain: Iterable[CertificateFacts]) -> dict[str, Any]:
    """The `peer_*` fields of a `TlsInfo`, from the leaf and what came with it; those at their default left out."""
    certificates = list(chain)
    leaf = certificates[0]
    found: dict[str, Any] = {
        "peer_presented": True,
        "peer_uri_sans": leaf.uri,
        "peer_dns_sans": leaf.dns,
        "peer_ip_sans": leaf.ip,
        "peer_email_sans": leaf.email,
        "peer_oids": leaf.oids,
        "peer_subject": leaf.subject,
        "peer_issuer": leaf.issuer,
        "peer_serial": leaf.serial,
        "peer_fingerprint_256": leaf.fingerprint_256,
        "peer_fingerprint_1": leaf.fingerprint_1,
        "peer_chain_fingerprints_256": tuple(each.fingerprint_256 for each in certificates),
        "peer_chain_fingerprints_1": tuple(each.fingerprint_1 for each in certificates),
        "peer_chain_serials": tuple(each.serial for each in certificates),
        "peer_certificate": leaf.url_encoded_pem,
        "peer_certificate_chain": "".join(each.url_encoded_pem for each in certificates),
        "peer_not_before": leaf.not_before,
        "peer_not_after": leaf.not_after,
    }
    if len(certificates) > 1:
        found["peer_issuer_fingerprint_256"] = certificates[1].fingerprint_256
        found["peer_issuer_serial"] = certificates[1].serial
    return {name: value for name, value in found.items() if value}


def local_facts(leaf: CertificateFacts) -> dict[str, Any]:
    """The `local_*` fields of a `TlsInfo`; those at their default left out."""
    found = {
        "local_uri_sans": leaf.uri,
        "local_dns_sans": leaf.dns,
        "local_ip_sans": leaf.ip,
        "local_email_sans": leaf.email,
        "local_oids": leaf.oids,
        "local_subject": leaf.subject,
    }
    return {name: value for name, value in found.items() if value}
