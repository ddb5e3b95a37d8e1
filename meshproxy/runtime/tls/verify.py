"""Whether a peer is the one that the configuration wants: what OpenSSL can't be asked through `ssl`.

OpenSSL verifies chain, validity, purpose (EKU) and CRL within the handshake. Names, pinned hashes, trust domains and
depth are looked at here, on the parsed certificate, when the handshake is complete and before any byte goes on.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple

from meshproxy.model.tls import CertificateValidation, SanMatcher
from meshproxy.runtime.tls import openssl
from meshproxy.runtime.tls.facts import CertificateFacts, facts_of
from meshproxy.runtime.tls.failures import TlsFailure, verify_failure

_SPIFFE = "spiffe://"


def dns_name_matches(name: str, pattern: str) -> bool:
    """Whether a certificate's DNS name `pattern` is for `name`; "*." stands for exactly one label (RFC 6125 6.4.3)."""
    name, pattern = name.lower(), pattern.lower()
    if name == pattern:
        return True
    if not pattern.startswith("*.") or "*" in pattern[2:]:
        return False
    label, dot, rest = name.partition(".")
    return bool(label and dot) and rest == pattern[2:]


def san_matches(matcher: SanMatcher, facts: CertificateFacts) -> bool:
    """Whether one of the names of the right kind is wanted."""
    if matcher.kind == "DNS":
        if matcher.exact_name:
            return any(dns_name_matches(matcher.exact_name, name) for name in facts.dns)
        return any(map(matcher.matches, facts.dns))
    if matcher.kind == "OTHER_NAME":
        return any(oid == matcher.oid and matcher.matches(name) for oid, name in facts.other)
    names = {"URI": facts.uri, "IP_ADDRESS": facts.ip, "EMAIL": facts.email}[matcher.kind]
    return any(map(matcher.matches, names))


def server_name_matches(server_name: str, facts: CertificateFacts) -> bool:
    """Whether a certificate is for the server name that was asked for (`auto_sni_san_validation`)."""
    try:
        return str(ipaddress.ip_address(server_name)) in facts.ip
    except ValueError:
        return any(dns_name_matches(server_name, name) for name in facts.dns)


def trust_domain_of(facts: CertificateFacts) -> str | None:
    """The trust domain of a SPIFFE id; None unless the certificate has exactly one URI and that is one."""
    if len(facts.uri) != 1 or not facts.uri[0].startswith(_SPIFFE):
        return None
    return facts.uri[0][len(_SPIFFE) :].partition("/")[0] or None


def sent_chain(tls: ssl.SSLObject) -> list[CertificateFacts]:
    """What the peer sent, leaf first; empty if it has no certificate. Raises ValueError for unreadable ones."""
    if tls.getpeercert(True) is None:
        return []
    return [facts_of(der) for der in _chain(tls, "get_unverified_chain")]


def _chain(tls: ssl.SSLObject, method: str) -> list[bytes]:
    public = getattr(tls, method, None)
    if public is not None:  # Python 3.13
        return list(public())
    inner: Any = getattr(tls, "_sslobj")  # noqa: B009  # the same, before it was made public
    return [certificate.public_bytes(2) for certificate in getattr(inner, method)() or ()]  # 2: DER


def _names(facts: CertificateFacts) -> str:
    return ", ".join((*facts.uri, *facts.dns, *facts.ip, *facts.email))


class Peer(NamedTuple):
    """A peer that is accepted: what it sent, leaf first, () without a certificate.

    validated: whether its certificate was held against rules, and passed. overlooked: the statistic that counts why it
    didn't, where such a peer is accepted all the same.
    """

    chain: tuple[CertificateFacts, ...]
    validated: bool = False
    overlooked: str = ""


class PeerPolicy:
    """The rules of one validation context. domains: name -> DER of its authorities, for SPIFFE's validator.

    verifies_chain: whether there are authorities to verify with. lenient: whether who fails is accepted all the same,
    which asks OpenSSL to have let the peer pass so far.
    """

    __slots__ = (
        "_check_key_usage",
        "_domains",
        "_lenient",
        "_max_depth",
        "_pinned",
        "_sans",
        "_spkis",
        "_verifies_chain",
        "_vouches",
    )

    def __init__(
        self,
        validation: CertificateValidation | None,
        domains: Mapping[str, frozenset[bytes]],
        *,
        verifies_chain: bool,
        lenient: bool = False,
        check_key_usage: bool = False,
    ) -> None:
        rules = validation or CertificateValidation()
        self._sans = rules.sans
        self._pinned = frozenset(digest.hex() for digest in rules.hashes)
        self._spkis = rules.spkis
        self._max_depth = rules.max_depth
        self._domains = domains
        self._check_key_usage = check_key_usage
        self._verifies_chain = verifies_chain
        self._lenient = lenient
        self._vouches = verifies_chain or bool(rules.sans or rules.hashes or rules.spkis)

    def check(self, tls: ssl.SSLObject, server_name: str = "", asked_name: str = "") -> Peer:
        """The peer, if it is wanted. Raises TlsFailure for one that isn't.

        server_name, asked_name: the certificate must be for these names, that of the configuration and that of the
        request; "": for none in particular.
        A peer without a certificate comes this far only where one is optional.
        """
        try:
            chain = tuple(sent_chain(tls))
        except ValueError:
            raise verify_failure("the certificate can't be read", "fail_verify_error") from None
        if not chain:
            return Peer(chain)
        if self._check_key_usage and chain[0].is_rsa and not chain[0].signs:
            raise TlsFailure("TLS_error:|0:key usage doesn't allow signatures:TLS_error_end", "was_key_usage_invalid")
        try:
            if self._lenient and self._verifies_chain and not openssl.is_verified(tls):
                raise verify_failure("the chain", "fail_verify_error")
            self._judge(tls, chain[0], server_name, asked_name)
        except TlsFailure as failure:
            if self._lenient:
                return Peer(chain, overlooked=failure.counter)
            raise
        return Peer(chain, self._vouches)

    def _judge(self, tls: ssl.SSLObject, leaf: CertificateFacts, server_name: str, asked_name: str) -> None:
        self._check_chain(tls, leaf)
        wanted = not self._sans or any(san_matches(matcher, leaf) for matcher in self._sans)
        if not wanted or (server_name and not server_name_matches(server_name, leaf)):
            raise verify_failure(f"SAN matcher, certificate SANs are [{_names(leaf)}]", "fail_verify_san")
        if asked_name and not server_name_matches(asked_name, leaf):
            why = f"verify SAN list, expected SANs: [{asked_name}], certificate SANs: [{_names(leaf)}]"
            raise verify_failure(why, "fail_verify_san")
        if (self._pinned or self._spkis) and not (leaf.fingerprint_256 in self._pinned or leaf.spki_256 in self._spkis):
            raise verify_failure("cert hash and spki", "fail_verify_cert_hash")

    def _check_chain(self, tls: ssl.SSLObject, leaf: CertificateFacts) -> None:
        """Depth, and that a SPIFFE id is vouched for by its own domain."""
        if (self._max_depth is None and not self._domains) or not self._verifies_chain or tls.session_reused:
            return  # a session is resumed only with the context that has verified it
        verified = _chain(tls, "get_verified_chain")
        if self._max_depth is not None and len(verified) - 1 > max(self._max_depth, 1):
            raise verify_failure(
                "X509_verify_cert: certificate verification error at depth 0: certificate chain too long",
                "fail_verify_error",
            )
        if self._domains:
            domain = trust_domain_of(leaf)
            trusted = self._domains.get(domain) if domain is not None else None
            if trusted is None:
                raise verify_failure("no trust bundle for the peer's trust domain", "fail_verify_error")
            if trusted.isdisjoint(verified[1:] or verified):
                raise verify_failure("the peer's trust domain isn't vouched for by its authority", "fail_verify_error")
