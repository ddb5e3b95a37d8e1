"""Certificates, keys and authorities as bytes: read, checked, ready to be given to OpenSSL.

Keys are handed to OpenSSL through an anonymous file in memory (`memfd_create`), since `ssl` takes only file names: they
never touch a disk. No message holds any of their content.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from meshproxy.model.tls import CertificateValidation, DataSource, TlsCertificate
from meshproxy.runtime.tls.facts import CertificateFacts, facts_of
from meshproxy.runtime.tls.failures import MaterialError
from meshproxy.runtime.tls.spiffe_bundles import parse_bundle_map
from meshproxy.runtime.tls.staples import Staple, parse_staple

_MIN_RSA_BITS = 2048
_CURVES = ("1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35")  # P-256, P-384, P-521
_SYSTEM_ROOTS = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def read(source: DataSource) -> bytes:
    """The bytes of a source, now. Raises MaterialError."""
    if not source.filename:
        return source.data
    try:
        return Path(source.filename).read_bytes()
    except OSError as error:
        raise MaterialError(f"file '{source.filename}' can't be read: {error.strerror}") from None


class LoadedCertificate:
    """A certificate chain with its key. label: where it is from, for messages and `/certs`. name: of its secret."""

    __slots__ = ("_key", "_password", "chain", "chain_pem", "ec", "label", "name", "staple")

    def __init__(self, certificate: TlsCertificate) -> None:
        """Raises MaterialError."""
        self.name = certificate.name
        self._password = read(certificate.password) if certificate.password is not None else None
        if certificate.pkcs12 is not None:
            self.label = certificate.pkcs12.label
            self.chain_pem, self._key = _from_pkcs12(read(certificate.pkcs12), self._password, self.label)
            self._password = None
        else:
            assert certificate.chain is not None
            assert certificate.key is not None
            self.label = certificate.chain.label
            self.chain_pem = read(certificate.chain)
            self._key = read(certificate.key)
        self.chain = _parse_chain(self.chain_pem, self.label)
        self.ec = not self.chain[0].is_rsa
        staple = certificate.staple
        self.staple: Staple | None = None
        if staple is not None:
            self.staple = parse_staple(read(staple), self.leaf, staple.label)

    @property
    def leaf(self) -> CertificateFacts:
        return self.chain[0]

    @property
    def digest(self) -> bytes:
        """Of what `load_into` gives."""
        parts = (self.chain_pem, self._key, self._password or b"")
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()

    @property
    def server_names(self) -> tuple[str, ...]:
        """The names that clients may ask for it by: DNS names, or the common name where there are none."""
        names = self.leaf.dns or ((self.leaf.common_name,) if self.leaf.common_name else ())
        return tuple(name.lower() for name in names)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Give chain and key to a context. Raises MaterialError, also if the two don't belong together."""
        with in_memory(self.chain_pem) as chain, in_memory(self._key) as key:
            try:
                context.load_cert_chain(chain, key, password=self._password or b"")
            except ssl.SSLError as error:
                raise MaterialError(
                    f"Failed to load private key for the certificate from {self.label}, Cause: {error.reason or error}"
                ) from None


def _from_pkcs12(data: bytes, password: bytes | None, label: str) -> tuple[bytes, bytes]:
    try:
        bundle = pkcs12.load_pkcs12(data, password)
    except ValueError:
        raise MaterialError(f"Failed to load pkcs12 from {label}") from None
    if bundle.key is None or bundle.cert is None:
        raise MaterialError(f"Failed to load pkcs12 from {label}: it holds no certificate with its key")
    chain = [bundle.cert.certificate, *(each.certificate for each in bundle.additional_certs)]
    key = bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return b"".join(each.public_bytes(Encoding.PEM) for each in chain), key


_CERTIFICATE = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----([^-]*)-----END (?:X509 )?CERTIFICATE-----")


def _certificates(pem: bytes) -> tuple[CertificateFacts, ...]:
    """Those in a PEM file. Raises ValueError, also if there is none."""
    blocks = (b"".join(text.split()) for text in _CERTIFICATE.findall(pem))
    found = tuple(facts_of(base64.b64decode(block, validate=True)) for block in blocks)
    if not found:
        raise ValueError("no certificate")
    return found


def _parse_chain(pem: bytes, label: str) -> tuple[CertificateFacts, ...]:
    try:
        chain = _certificates(pem)
    except ValueError:
        raise MaterialError(f"Failed to load certificate chain from {label}") from None
    leaf = chain[0]
    if leaf.is_rsa:
        if leaf.rsa_bits < _MIN_RSA_BITS:
            raise MaterialError(
                f"Failed to load certificate chain from {label}, only RSA certificates with 2048-bit or larger keys "
                "are supported"
            )
    elif leaf.curve not in _CURVES:
        raise MaterialError(
            f"Failed to load certificate chain from {label}, only P-256, P-384 or P-521 ECDSA certificates are "
            "supported"
        )
    return chain


@contextmanager
def in_memory(data: bytes) -> Iterator[str]:
    """The name of a file that exists in memory only, with this content."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


class LoadedAuthorities:
    """Who vouches for peers. authorities: their certificates; domains: those of each SPIFFE trust domain, as DER.

    name: of the secret that they are from.
    """

    __slots__ = ("authorities", "crl_pem", "domains", "label", "name")

    def __init__(self, validation: CertificateValidation) -> None:
        """Raises MaterialError."""
        self.label = ""
        self.name = validation.name
        self.domains: dict[str, frozenset[bytes]] = {}
        self.authorities: list[CertificateFacts] = []
        if validation.trusted_ca is not None:
            self.label = validation.trusted_ca.label
            self.authorities = _parse_authorities(read(validation.trusted_ca), self.label)
        elif validation.system_roots:
            self.label = _system_roots()
            self.authorities = _parse_authorities(read(DataSource(self.label)), self.label)
        for domain, found in self._trust_domains(validation):
            self.authorities += found
            self.domains[domain] = frozenset(each.der for each in found)
        self.crl_pem = b""
        if validation.crl is not None:
            self.crl_pem = read(validation.crl)
            try:
                x509.load_pem_x509_crl(self.crl_pem)
            except ValueError:
                raise MaterialError(f"Failed to load CRL from {validation.crl.label}") from None

    def _trust_domains(self, validation: CertificateValidation) -> Iterator[tuple[str, list[CertificateFacts]]]:
        bundles = validation.trust_bundles
        if bundles is not None:
            self.label = bundles.label
            yield from parse_bundle_map(read(bundles), self.label).items()
            return
        for domain in validation.trust_domains:
            self.label = domain.bundle.label
            yield domain.name, _parse_authorities(read(domain.bundle), self.label)

    @property
    def digest(self) -> bytes:
        """Of what `load_into` gives."""
        found = hashlib.sha256(hashlib.sha256(self.crl_pem).digest())
        for authority in self.authorities:
            found.update(hashlib.sha256(authority.der).digest())
        return found.digest()

    def load_into(self, context: ssl.SSLContext) -> None:
        """Give authorities and CRL to a context. Raises MaterialError."""
        try:
            context.load_verify_locations(cadata=b"".join(each.der for each in self.authorities))
            if self.crl_pem:
                with in_memory(self.crl_pem) as name:
                    context.load_verify_locations(name)
        except ssl.SSLError as error:
            raise MaterialError(f"Failed to load trusted CA certificates from {self.label}: {error.reason}") from None


def _parse_authorities(pem: bytes, label: str) -> list[CertificateFacts]:
    try:
        return list(_certificates(pem))
    except ValueError:
        raise MaterialError(f"Failed to load trusted CA certificates from {label}") from None


def _system_roots() -> str:
    for name in _SYSTEM_ROOTS:
        if os.path.exists(name):
            return name
    raise MaterialError("Failed to load system root certificates: there is no file of them")
