"""What certificates say, as logs, headers and rules want it.

A certificate is read from its DER once and remembered: peers of a mesh come again and again with the same one. It is
read by ourselves (`der`, `names`), for a library that refuses what strings of odd kinds hold would refuse peers that
OpenSSL and Envoy accept.
"""

from __future__ import annotations

import base64
import hashlib
import urllib.parse
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from meshproxy.runtime.tls import der
from meshproxy.runtime.tls.der import Element
from meshproxy.runtime.tls.names import (
    COMMON_NAME,
    AlternativeNames,
    Attribute,
    alternative_names,
    attributes,
    is_clean,
    name_text,
    text_of,
)

_REMEMBERED = 1024
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_KEY_USAGE, _SUBJECT_ALT_NAME, _TLS_FEATURE = "2.5.29.15", "2.5.29.17", "1.3.6.1.5.5.7.1.24"
_RSA, _EC = "1.2.840.113549.1.1.1", "1.2.840.10045.2.1"
_STATUS_REQUEST = 5  # RFC 7633


class CertificateFacts:
    """One certificate. SANs in the order in which they stand there.

    rsa_bits: of an RSA key, else 0. curve: of an EC key, as a dotted object identifier, else "".
    """

    __slots__ = (
        "common_name",
        "curve",
        "der",
        "dns",
        "email",
        "fingerprint_1",
        "fingerprint_256",
        "ip",
        "issuer",
        "must_staple",
        "not_after",
        "not_before",
        "oids",
        "other",
        "pem",
        "rsa_bits",
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

    @property
    def is_rsa(self) -> bool:
        return bool(self.rsa_bits)

    def __init__(self, certificate: bytes) -> None:
        """Raises ValueError for what is no certificate."""
        self.der = certificate
        self.fingerprint_256 = hashlib.sha256(certificate).hexdigest()
        self.fingerprint_1 = hashlib.sha1(certificate, usedforsecurity=False).hexdigest()
        self.pem = _pem(certificate)
        (whole,) = der.elements(certificate)
        parts = der.inside(der.inside(whole)[0])
        if parts[0].tag == _VERSION:
            del parts[0]
        serial, _, issuer, validity, subject, key, *more = parts
        self.serial = serial_text(der.integer(serial))
        self.issuer = name_text(attributes(issuer))
        named = attributes(subject)
        self.subject = name_text(named)
        self.common_name = _common_name(named)
        self.not_before, self.not_after = map(der.seconds, der.inside(validity))
        self.spki_256 = hashlib.sha256(key.whole).digest()
        self.rsa_bits, self.curve = _key(key)
        extensions = _extensions(more)
        self.oids = tuple(extensions)
        names = extensions.get(_SUBJECT_ALT_NAME)
        self.uri, self.dns, self.ip, self.email, self.other = (
            alternative_names(names) if names is not None else AlternativeNames()
        )
        usage = extensions.get(_KEY_USAGE)
        self.signs = usage is None or _has_first_bit(usage)
        self.must_staple = _demands_staple(extensions.get(_TLS_FEATURE))

    @property
    def url_encoded_pem(self) -> str:
        return urllib.parse.quote(self.pem, safe="")


def serial_text(number: int) -> str:
    """A serial number in lower-case hex, with whole bytes."""
    text = f"{abs(number):x}"
    return f"{'-' if number < 0 else ''}{'0' * (len(text) % 2)}{text}"


def _pem(certificate: bytes) -> str:
    text = base64.b64encode(certificate).decode("ascii")
    lines = (text[start : start + 64] for start in range(0, len(text), 64))
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""))


def _common_name(name: list[list[Attribute]]) -> str:
    """The first one."""
    text = next((text_of(value) for part in name for kind, value in part if kind == COMMON_NAME), None) or ""
    return text if is_clean(text) else ""


def _key(spki: Element) -> tuple[int, str]:
    """`rsa_bits` and `curve`."""
    algorithm, bits = der.inside(spki)
    kind, *parameters = der.inside(algorithm)
    name = der.oid_text(kind.content)
    if name == _RSA:
        (key,) = der.elements(bits.content[1:])
        return der.integer(der.inside(key)[0]).bit_length(), ""
    return 0, der.oid_text(parameters[0].content) if name == _EC and parameters and parameters[0].tag == der.OID else ""


def _extensions(parts: list[Element]) -> dict[str, bytes]:
    """The content of each, by its dotted object identifier."""
    found: dict[str, bytes] = {}
    for part in parts:
        if part.tag == _EXTENSIONS:
            (listed,) = der.elements(part.content)
            for extension in der.inside(listed):
                kind, *_, value = der.inside(extension)
                found.setdefault(der.oid_text(kind.content), value.content)
    return found


def _has_first_bit(extension: bytes) -> bool:
    """Of a key usage: digitalSignature."""
    (bits,) = der.elements(extension)
    return len(bits.content) > 1 and bool(bits.content[1] & 128)


def _demands_staple(extension: bytes | None) -> bool:
    if extension is None:
        return False
    (features,) = der.elements(extension)
    return any(der.integer(feature) == _STATUS_REQUEST for feature in der.inside(features))


_known: OrderedDict[bytes, CertificateFacts] = OrderedDict()


def facts_of(certificate: bytes) -> CertificateFacts:
    """The facts of a certificate, remembered for the last thousand. Raises ValueError for what is none."""
    found = _known.get(certificate)
    if found is None:
        try:
            found = CertificateFacts(certificate)
        except (IndexError, OverflowError) as error:
            raise ValueError(f"a certificate that can't be read: {type(error).__name__}") from None
        _known[certificate] = found
        if len(_known) > _REMEMBERED:
            _known.popitem(last=False)
    else:
        _known.move_to_end(certificate)
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
