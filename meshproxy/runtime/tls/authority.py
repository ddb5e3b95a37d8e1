"""A certificate authority for one machine: the certificates of a mesh without a control plane.

For trying mutual TLS, for tests, for a handful of hosts that somebody looks after by hand. Leaves are made as Istio's
CA makes them: the SPIFFE id as a URI name, for clients and servers alike, valid for a day unless asked otherwise. Files
of keys have mode 0600 and are written under another name and then renamed, so that no reader meets half of one.
"""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
LEAF_DAYS = 1
_CLOCK_SKEW = timedelta(minutes=2)


class LocalAuthority:
    """Root certificate and key in `ca.pem` and `ca.key` of a directory; made on first use."""

    def __init__(self, directory: Path, *, organization: str = "cluster.local") -> None:
        """Raises OSError, and ValueError for files that hold something else."""
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        certificate, key = directory / "ca.pem", directory / "ca.key"
        if certificate.exists() and key.exists():
            self.certificate = x509.load_pem_x509_certificate(certificate.read_bytes())
            loaded = load_pem_private_key(key.read_bytes(), None)
            if not isinstance(loaded, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{key} holds no ECDSA key")
            self._key = loaded
        else:
            self._key = ec.generate_private_key(ec.SECP256R1())
            self.certificate = _root(self._key, organization)
            write(key, _pem_of(self._key), 0o600)
            write(certificate, self.certificate.public_bytes(Encoding.PEM), 0o644)

    def issue(
        self, name: str, identities: tuple[str, ...], *, days: float = LEAF_DAYS, now: datetime | None = None
    ) -> tuple[Path, Path]:
        """Write `<name>.pem` (leaf) and `<name>.key`. Returns both paths. Raises OSError, ValueError.

        identities: `spiffe://...` (a URI), an IP address, or else a DNS name; at least one. The leaf never outlives
        the root.
        """
        if not identities:
            raise ValueError("a certificate needs an identity")
        moment = now or datetime.now(UTC)
        end = min(moment + timedelta(days=days), self.certificate.not_valid_after_utc)
        if end <= moment:
            raise ValueError("the certificate would have expired already")
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key()
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - _CLOCK_SKEW)
            .not_valid_after(end)
            .add_extension(x509.KeyUsage(True, False, True, False, False, False, False, False, False), True)
            .add_extension(usage, False)
            .add_extension(x509.BasicConstraints(False, None), True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
            # Critical, since the subject is empty (RFC 5280 section 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName([general_name(each) for each in identities]), True)
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        chain_path, key_path = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        write(key_path, _pem_of(key), 0o600)
        write(chain_path, certificate.public_bytes(Encoding.PEM), 0o644)
        return chain_path, key_path


def general_name(identity: str) -> x509.GeneralName:
    """A subject alternative name of the kind that the text looks like. Raises ValueError for non-ASCII."""
    if "://" in identity:
        return x509.UniformResourceIdentifier(identity)
    try:
        return x509.IPAddress(ipaddress.ip_address(identity))
    except ValueError:
        return x509.DNSName(identity)


def _root(key: ec.EllipticCurvePrivateKey, organization: str) -> x509.Certificate:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, "mesh root"),
        ]
    )
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(True, 0), True)
        .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write(path: Path, data: bytes, mode: int) -> None:
    """Put a file in place at once, never readable to more than `mode` says."""
    other = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(other, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(other, path)
    except BaseException:
        other.unlink(missing_ok=True)
        raise
