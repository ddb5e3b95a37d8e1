"""TLS as configured (envoy.extensions.transport_sockets.tls.v3): what a handshake offers, and whom it accepts.

Nothing is loaded here: certificates stay files or bytes until the runtime makes its contexts of them, and does so again
when a file changes. Key material is never part of a `repr`, so that no log and no traceback shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from meshproxy.address import CidrSet
from meshproxy.model.discovery import ConfigSource
from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class DataSource:
    """A file's content, or bytes that the configuration holds itself. `filename` "" means the bytes."""

    filename: str = ""
    data: bytes = field(default=b"", repr=False)

    @property
    def label(self) -> str:
        """What Envoy calls it in messages: the file's name, or `<inline>`."""
        return self.filename or "<inline>"


@dataclass(frozen=True, slots=True)
class SecretReference:
    """A secret that comes by discovery (SDS): the resource `name` of a source, which may be a file."""

    name: str
    source: ConfigSource


@dataclass(frozen=True, slots=True)
class TlsCertificate:
    """A certificate chain in PEM, leaf first, and its key; or both in one PKCS#12 file.

    staple: an OCSP response in DER. name: of its secret, if any.
    """

    chain: DataSource | None = None
    key: DataSource | None = field(default=None, repr=False)
    password: DataSource | None = field(default=None, repr=False)
    pkcs12: DataSource | None = field(default=None, repr=False)
    staple: DataSource | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class GenericSecret:
    """A secret that is bytes and nothing more: a password, a key, a token."""

    source: DataSource = field(repr=False)


@dataclass(frozen=True, slots=True)
class TicketKeys:
    """What session tickets are sealed with: the first key seals, all open."""

    keys: tuple[DataSource, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyLog:
    """Where the secrets of handshakes are written, of connections between these addresses; None for any."""

    path: str
    local: CidrSet | None = None
    remote: CidrSet | None = None


@dataclass(frozen=True, slots=True)
class SanMatcher:
    """One `match_typed_subject_alt_names` entry.

    kind: "URI", "DNS", "IP_ADDRESS", "EMAIL" or "OTHER_NAME". exact_name: for DNS names that are compared as a whole:
    then a certificate's `*.` stands for one label. oid: what kind of OTHER_NAME, dotted.
    """

    kind: str
    matches: Callable[[str], bool]
    exact_name: str = ""
    oid: str = ""


@dataclass(frozen=True, slots=True)
class TrustDomain:
    """A SPIFFE trust domain and the authorities that speak for it."""

    name: str
    bundle: DataSource


@dataclass(frozen=True, slots=True)
class CertificateValidation:
    """Whom to accept. All that is set must hold; of hashes and SPKIs together one must match, of SANs one.

    hashes: SHA-256 of the certificate; spkis: SHA-256 of its public key info.
    accept_untrusted: let peers through whose chain doesn't verify (`ACCEPT_UNTRUSTED`).
    max_depth: certificates behind the leaf at most, the root included; None for the library's own limit.
    trust_domains, trust_bundles: the SPIFFE validator; then `trusted_ca` is None. The latter is a SPIFFE bundle map in
    JSON, which has the last word.
    name: of its secret, if any. digest: stands for all that is configured here.
    """

    trusted_ca: DataSource | None = None
    system_roots: bool = False
    crl: DataSource | None = None
    only_leaf_crl: bool = False
    sans: tuple[SanMatcher, ...] = ()
    hashes: frozenset[bytes] = frozenset()
    spkis: frozenset[bytes] = frozenset()
    allow_expired: bool = False
    accept_untrusted: bool = False
    max_depth: int | None = None
    trust_domains: tuple[TrustDomain, ...] = ()
    trust_bundles: DataSource | None = None
    name: str = ""
    digest: bytes = field(default=b"", compare=False)

    @property
    def is_spiffe(self) -> bool:
        """Whether SPIFFE's validator has been asked for."""
        return bool(self.trust_domains) or self.trust_bundles is not None

    def merged(self, other: CertificateValidation) -> CertificateValidation:
        """This with `other` merged over it, as `combined_validation_context` wants it (protobuf's MergeFrom)."""
        return CertificateValidation(
            trusted_ca=other.trusted_ca or self.trusted_ca,
            system_roots=other.system_roots or self.system_roots,
            crl=other.crl or self.crl,
            only_leaf_crl=other.only_leaf_crl or self.only_leaf_crl,
            sans=self.sans + other.sans,
            hashes=self.hashes | other.hashes,
            spkis=self.spkis | other.spkis,
            allow_expired=other.allow_expired or self.allow_expired,
            accept_untrusted=other.accept_untrusted or self.accept_untrusted,
            max_depth=self.max_depth if other.max_depth is None else other.max_depth,
            trust_domains=other.trust_domains or self.trust_domains,
            trust_bundles=other.trust_bundles or self.trust_bundles,
            name=other.name or self.name,
            digest=self.digest + other.digest,
        )


@dataclass(frozen=True, slots=True)
class TlsParameters:
    """Versions "TLSv1_0" to "TLSv1_3"; the suites up to TLS 1.2 and the groups by OpenSSL's names, best first.

    groups, signature_algorithms: () for Envoy's own.
    prioritize_chacha: whether CHACHA20 is as good as its neighbour, so that a client that has it first gets it.
    """

    minimum: str
    maximum: str
    ciphers: tuple[str, ...]
    groups: tuple[str, ...] = ()
    signature_algorithms: tuple[str, ...] = ()
    prioritize_chacha: bool = True


@dataclass(frozen=True, slots=True)
class CommonTls:
    """What both directions configure. A reference is resolved by the runtime, and again when its file changes.

    validation_reference: for `combined_validation_context` merged over `validation`.
    """

    parameters: TlsParameters
    certificates: tuple[TlsCertificate | SecretReference, ...] = ()
    validation: CertificateValidation | None = None
    validation_reference: SecretReference | None = None
    alpn: tuple[str, ...] = ()
    key_log: KeyLog | None = None

    @property
    def validates(self) -> bool:
        """Whether the peer's certificate is asked for by this configuration."""
        return self.validation is not None or self.validation_reference is not None


@dataclass(frozen=True, slots=True, eq=False)
class DownstreamTls:
    """`DownstreamTlsContext`.

    tickets: session tickets may be given to clients whose certificate isn't asked for, and to others too where there
    are keys to seal them with. stateful: sessions of TLS 1.2 may be kept here. session_timeout: seconds that either can
    be resumed. staple_policy: `ocsp_staple_policy`.
    """

    common: CommonTls
    require_client_certificate: bool = False
    require_sni: bool = False
    tickets: bool = True
    ticket_keys: TicketKeys | SecretReference | None = None
    staple_policy: str = "LENIENT_STAPLING"
    stateful: bool = True
    session_timeout: int = 7200
    full_scan_certs_on_sni_mismatch: bool = False
    prefer_client_ciphers: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class UpstreamTls:
    """`UpstreamTlsContext`. auto_host_sni: the endpoint's `hostname` is the server name."""

    common: CommonTls
    sni: str = ""
    auto_host_sni: bool = False
    auto_sni_san_validation: bool = False
    enforce_rsa_key_usage: bool = False
