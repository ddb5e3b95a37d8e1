"""OpenSSL contexts from loaded material: one generation of what handshakes use.

A generation is never changed: when a file does, a new one is made and takes the place of the old one for the
handshakes that follow; connections keep the objects that they began with.

One context holds at most one certificate of each key type, among which OpenSSL chooses by what the client can do. So
certificates are grouped by the names that clients ask for, and the server name callback changes to the group's context
(Envoy: "Certificate selection").
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence

from meshproxy.model.tls import CertificateValidation, CommonTls, DownstreamTls
from meshproxy.records import dataclass
from meshproxy.runtime.tls import openssl
from meshproxy.runtime.tls.failures import MaterialError
from meshproxy.runtime.tls.key_log import KeyLogFile
from meshproxy.runtime.tls.material import LoadedAuthorities, LoadedCertificate
from meshproxy.runtime.tls.parameters import apply_parameters
from meshproxy.runtime.tls.staples import Staples
from meshproxy.runtime.tls.tickets import check_keys, seal_with
from meshproxy.runtime.tls.verify import PeerPolicy

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of openssl/x509_vfy.h
_PRIORITIZE_CHACHA = ssl.Options(0x200000)  # SSL_OP_PRIORITIZE_CHACHA of openssl/ssl.h
_SESSION_LIFETIME = 7200


class Generation:
    """What both directions have: certificates, authorities, rules for the peer."""

    def __init__(
        self,
        common: CommonTls,
        certificates: Sequence[LoadedCertificate],
        validation: CertificateValidation | None,
        *,
        verifies_chain: bool,
        lenient: bool = False,
        check_key_usage: bool = False,
    ) -> None:
        """Raises MaterialError."""
        _check_rules(validation)
        self.common = common
        self.certificates = tuple(certificates)
        self.authorities = LoadedAuthorities(validation) if validation is not None else None
        self.policy = PeerPolicy(
            validation,
            self.authorities.domains if self.authorities is not None else {},
            verifies_chain=verifies_chain,
            lenient=lenient,
            check_key_usage=check_key_usage,
        )
        self.validation = validation
        self.key_log = KeyLogFile(common.key_log) if common.key_log is not None else None

    def configure(self, context: ssl.SSLContext, verify_mode: ssl.VerifyMode, *, wide: bool = False) -> None:
        """wide: see `apply_parameters`."""
        context.verify_mode = verify_mode
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        apply_parameters(context, self.common.parameters, wide=wide)
        if self.key_log is not None:
            self.key_log.give_to(context)
        if self.common.alpn:
            context.set_alpn_protocols(list(self.common.alpn))
        validation, authorities = self.validation, self.authorities
        if validation is not None and authorities is not None and authorities.authorities:
            authorities.load_into(context)
            flags = context.verify_flags
            if not validation.is_spiffe:
                flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            if authorities.crl_pem:
                flags |= ssl.VERIFY_CRL_CHECK_LEAF if validation.only_leaf_crl else ssl.VERIFY_CRL_CHECK_CHAIN
            if validation.allow_expired:
                flags |= _NO_CHECK_TIME
            context.verify_flags = ssl.VerifyFlags(flags)


def _check_rules(validation: CertificateValidation | None) -> None:
    """Raises MaterialError for rules that mean nothing without authorities, as Envoy does."""
    if validation is None or has_authorities(validation):
        return
    if validation.sans:
        raise MaterialError(
            "SAN-based verification of peer certificates without trusted CA is insecure and not allowed"
        )
    if validation.allow_expired:
        raise MaterialError("Certificate validity period is always ignored without trusted CA")
    if validation.crl is not None:
        raise MaterialError(f"Failed to load CRL from {validation.crl.label} without trusted CA")


def has_authorities(validation: CertificateValidation | None) -> bool:
    """Whether it says who vouches for peers."""
    return validation is not None and bool(
        validation.trusted_ca is not None or validation.system_roots or validation.is_spiffe
    )


class ServerContexts(Generation):
    """`DownstreamTlsContext`. context: what a handshake begins with."""

    def __init__(
        self,
        config: DownstreamTls,
        certificates: Sequence[LoadedCertificate],
        validation: CertificateValidation | None,
        ticket_keys: Sequence[bytes] = (),
    ) -> None:
        """Raises MaterialError."""
        self._config = config
        self._ticket_keys = ticket_keys
        check_keys(ticket_keys)
        if any(certificate.leaf.is_nameless for certificate in certificates):
            raise MaterialError("Invalid TLS context has neither subject CN nor SAN names")
        self._clients = _client_certificates(config, validation)
        super().__init__(
            config.common,
            certificates,
            validation,
            verifies_chain=has_authorities(validation),
            lenient=validation is not None and validation.accept_untrusted,
        )
        leaves = {each.leaf.der: (each.leaf, each.staple) for each in self.certificates}
        self.staples = Staples(leaves, config.staple_policy)
        self.certificate_of: dict[ssl.SSLContext, LoadedCertificate] = {}
        self._by_name: dict[str, ssl.SSLContext] = {}
        groups: dict[str, list[LoadedCertificate]] = {}
        for certificate in self.certificates:
            for name in certificate.server_names:
                groups.setdefault(name, []).append(certificate)
        made: dict[tuple[LoadedCertificate, ...], ssl.SSLContext] = {}

        def context_for(candidates: Sequence[LoadedCertificate]) -> ssl.SSLContext:
            chosen = _one_of_each_type(candidates)
            if chosen not in made:
                made[chosen] = self._make(chosen)
            return made[chosen]

        self.context = context_for(self.certificates)
        everything = config.full_scan_certs_on_sni_mismatch or len(self.certificates) == 1
        self._otherwise = self.context if everything else context_for(self.certificates[:1])
        if len(self.certificates) > 1:
            self._by_name = {name: context_for(group) for name, group in groups.items()}
        if self._by_name or config.require_sni:
            self.context.sni_callback = self._on_server_name

    def _make(self, certificates: tuple[LoadedCertificate, ...]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.configure(context, self._clients.mode, wide=self._clients.mode is not ssl.CERT_NONE)
        if not self._clients.verified:
            openssl.ask_without_verifying(context, required=self._clients.mode is ssl.CERT_REQUIRED)
        for certificate in certificates:
            certificate.load_into(context)
        self.staples.give_to(context)
        if self._ticket_keys:
            seal_with(context, self._ticket_keys, self._realm())
        elif not self._config.tickets or self._clients.mode is not ssl.CERT_NONE:
            # With client certificates each ticket would carry the client's chain: a third of a handshake's cost.
            context.num_tickets = 0
            context.options |= ssl.OP_NO_TICKET
        self._limit_sessions(context)
        if self.common.parameters.prioritize_chacha:
            context.options |= _PRIORITIZE_CHACHA
        if self._config.prefer_client_ciphers:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        self.certificate_of[context] = certificates[0]
        return context

    def _realm(self) -> bytes:
        """Sessions are resumed by those alone who show the same names and judge clients by the same rules."""
        found = hashlib.sha256(repr(self._clients).encode())
        for certificate in self.certificates:
            leaf = certificate.leaf
            found.update(repr((leaf.subject, leaf.issuer, leaf.dns, leaf.uri, leaf.ip)).encode())
        if self.validation is not None and self.authorities is not None:
            found.update(self.validation.digest + self.authorities.crl_pem)
            found.update(b"".join(each.der for each in self.authorities.authorities))
            found.update(repr(sorted((name, sorted(ders)) for name, ders in self.authorities.domains.items())).encode())
        return found.digest()

    def _limit_sessions(self, context: ssl.SSLContext) -> None:
        config = self._config
        if config.session_timeout == _SESSION_LIFETIME and config.stateful:
            return
        if openssl.library() is None:
            raise MaterialError("this Python's ssl can't limit sessions")
        openssl.set_session_lifetime(context, config.session_timeout)
        if not config.stateful:
            openssl.keep_no_sessions(context)

    def _on_server_name(
        self, tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext
    ) -> int | None:
        if not name:
            return ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE if self._config.require_sni else None
        found = self._by_name.get(name.lower())
        if found is None:
            _, dot, rest = name.lower().partition(".")
            found = self._by_name.get(f"*.{rest}", self._otherwise) if dot else self._otherwise
        if found is not context:
            tls.context = found
        return None


def _one_of_each_type(certificates: Sequence[LoadedCertificate]) -> tuple[LoadedCertificate, ...]:
    """The first for each key type, ECDSA first, as Envoy prefers it."""
    first: dict[bool, LoadedCertificate] = {}
    for certificate in certificates:
        first.setdefault(certificate.ec, certificate)
    return tuple(first[kind] for kind in (True, False) if kind in first)


@dataclass(frozen=True, slots=True)
class _ClientCertificates:
    """Whether clients are asked for a certificate, and whether OpenSSL verifies it."""

    mode: ssl.VerifyMode
    verified: bool = True


def _client_certificates(config: DownstreamTls, validation: CertificateValidation | None) -> _ClientCertificates:
    """Names or hashes to match make a certificate a must, as in Envoy, unless nothing has to match; so does SPIFFE."""
    known = has_authorities(validation)
    rules = validation or CertificateValidation()
    pinned = rules.sans or rules.hashes or rules.spkis
    if not (known or pinned or rules.accept_untrusted):
        if config.require_client_certificate:
            raise MaterialError(
                "client certificates are required, but no trusted CA or hash says which (Envoy asks for none)"
            )
        return _ClientCertificates(ssl.CERT_NONE)
    verified = known and not rules.accept_untrusted
    if not verified and openssl.library() is None:
        raise MaterialError("this Python's ssl can't ask for client certificates that it isn't to verify")
    required = (
        (known and config.require_client_certificate) or rules.is_spiffe or (pinned and not rules.accept_untrusted)
    )
    return _ClientCertificates(ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL, verified)
