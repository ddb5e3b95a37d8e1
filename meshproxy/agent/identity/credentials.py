"""The workload's key and certificate: asking for one, reading what comes, and when to ask again.

Pure but for the making of keys. The shape is Istio's: the subject of a request is empty, the SPIFFE id is its only
name, and the CA takes the identity from whoever is authenticated, not from the request. A chain comes with the root as
its last element.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_key

from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """Which key is made, and how it is written: P-256 for ecdsa, else RSA; pkcs8: RSA keys too, others always are."""

    ecdsa: bool = False
    rsa_bits: int = 2048
    pkcs8: bool = False


RSA_2048 = KeyOptions()


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM texts: the private key, the chain (leaf first), the root. Times with their zone, of the leaf."""

    key: bytes
    chain: bytes
    root: bytes
    not_before: datetime
    not_after: datetime


def make_request(spiffe_id: str, options: KeyOptions = RSA_2048) -> tuple[bytes, bytes]:
    """A new key and a signing request for it, both PEM."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if options.ecdsa:
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=options.rsa_bits)
    name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(name, critical=True)
    request = builder.sign(key, hashes.SHA256())
    kind = PrivateFormat.PKCS8 if options.ecdsa or options.pkcs8 else PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(Encoding.PEM, kind, NoEncryption()), request.public_bytes(Encoding.PEM)


def read_chain(key: bytes, chain: list[str]) -> Credentials:
    """What a CA answered to a request for `key`: PEM texts, leaf first, root last. Raises ValueError."""
    if len(chain) < 2:
        raise ValueError(f"the CA answered with {len(chain)} certificates; at least the leaf and the root are needed")
    return from_files(key, "".join(_ended(part) for part in chain[:-1]).encode(), _ended(chain[-1]).encode())


def from_files(key: bytes, chain: bytes, root: bytes) -> Credentials:
    """Credentials out of what three files hold. Raises ValueError if they don't belong together."""
    leaf = x509.load_pem_x509_certificates(chain)[0]
    x509.load_pem_x509_certificates(root)
    shape = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*shape) != load_key(key, None).public_key().public_bytes(*shape):
        raise ValueError("the certificate is not for the key")
    return Credentials(key, chain, root, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def _ended(pem: str) -> str:
    return pem if pem.endswith("\n") else pem + "\n"


def renewal_delay(
    credentials: Credentials, now: datetime, rng: random.Random, *, ratio: float = 0.5, jitter: float = 0.01
) -> float:
    """Seconds until a new certificate is asked for: when `ratio` (give or take `jitter`) of its life is left."""
    life = (credentials.not_after - credentials.not_before).total_seconds()
    grace = min(max(ratio + rng.uniform(-jitter, jitter), 0.0), 1.0)
    left = (credentials.not_after - now).total_seconds()
    return float(max(left - life * grace, 0.0))


def utc_now() -> datetime:
    return datetime.now(UTC)
