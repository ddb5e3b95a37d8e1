"""What handshakes with hosts use, one OpenSSL context for all clusters that can share it.

Theory: a mesh has a cluster for each service, and most of them show the same certificate, trust the same authorities
and offer the same protocols. They differ in the name that they ask for, which belongs to a handshake, and in the names
that the host must prove, which are looked at after it. So what a context is made of is its name: contexts that would be
alike are one, as long as somebody holds it. To make one costs five milliseconds and a tenth of a megabyte.

Invariant: nothing is done to a shared context once it is made.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Hashable, Sequence
from weakref import WeakValueDictionary

from meshproxy.model.tls import CertificateValidation, UpstreamTls
from meshproxy.runtime.tls import openssl
from meshproxy.runtime.tls.contexts import Generation, has_authorities
from meshproxy.runtime.tls.material import LoadedCertificate

_contexts: WeakValueDictionary[Hashable, ssl.SSLContext] = WeakValueDictionary()


class ClientContext(Generation):
    """`UpstreamTlsContext`."""

    def __init__(
        self,
        config: UpstreamTls,
        certificates: Sequence[LoadedCertificate],
        validation: CertificateValidation | None,
    ) -> None:
        """Raises MaterialError."""
        known = has_authorities(validation)
        lenient = validation is not None and validation.accept_untrusted
        super().__init__(
            config.common,
            certificates,
            validation,
            verifies_chain=known and not (lenient and openssl.library() is None),
            lenient=lenient,
            check_key_usage=config.enforce_rsa_key_usage,
        )
        self._mode = ssl.CERT_REQUIRED if known and not lenient else ssl.CERT_NONE
        self._material = self._digest()
        self._contexts = {"": self._share("")}

    def context_for(self, fallback: str, override: str = "") -> ssl.SSLContext:
        """The context that offers `override`, else what is configured, else `fallback`.

        Both are protocols joined by ","; "" for none.
        """
        offered = override or ("" if self.common.alpn else fallback)
        found = self._contexts.get(offered)
        if found is None:
            found = self._contexts[offered] = self._share(offered)
        return found

    def _digest(self) -> bytes:
        """Of the certificates, keys, authorities and lists that a context is given."""
        found = hashlib.sha256()
        for certificate in self.certificates:
            found.update(certificate.digest)
        if self.authorities is not None:
            found.update(self.authorities.digest)
        return found.digest()

    def _share(self, offered: str) -> ssl.SSLContext:
        if self.key_log is not None:
            return self._make(offered)  # it writes to a file of its own
        rules = self.validation
        flags = rules is not None and (rules.is_spiffe, rules.only_leaf_crl, rules.allow_expired)
        protocols = tuple(offered.split(",")) if offered else self.common.alpn
        name = (self._mode, self.common.parameters, protocols, flags, self._material)
        found = _contexts.get(name)
        if found is None:
            found = _contexts[name] = self._make(offered)
        return found

    def _make(self, offered: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        self.configure(context, self._mode)
        if offered:
            context.set_alpn_protocols(offered.split(","))
        for certificate in self.certificates:
            certificate.load_into(context)
        return context
