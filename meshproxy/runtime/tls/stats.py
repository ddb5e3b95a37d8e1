"""`ssl.` statistics of a listener or cluster (Envoy: "TLS statistics")."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from meshproxy.plugin.stats import Counter, StatsScope
from meshproxy.plugin.stream_info import TlsInfo
from meshproxy.runtime.tls import openssl
from meshproxy.runtime.tls.verify import Peer

if TYPE_CHECKING:
    from meshproxy.runtime.tls.slots import Slot

_NAMES = (
    "connection_error",
    "handshake",
    "session_reused",
    "no_certificate",
    "fail_verify_no_cert",
    "fail_verify_error",
    "fail_verify_san",
    "fail_verify_cert_hash",
    "was_key_usage_invalid",
    "ocsp_staple_failed",
    "ocsp_staple_omitted",
    "ocsp_staple_requests",
    "ocsp_staple_responses",
)


class SecretUpdates:
    """`ssl_context_update_by_sds`: how often secrets of some slots have come. Workers have the same, so one counts."""

    def __init__(self, scope: StatsScope, *, counts: bool) -> None:
        self._slots: WeakKeyDictionary[Slot[Any, Any], int] = WeakKeyDictionary()
        if counts:
            self._counter = scope.counter("ssl_context_update_by_sds")
            scope.before_read(self._fold)

    def follow(self, slot: Slot[Any, Any]) -> None:
        """Count what has come for this one, and what will."""
        self._slots.setdefault(slot, 0)

    def _fold(self) -> None:
        for slot, counted in list(self._slots.items()):
            self._counter.value += slot.provisions - counted
            self._slots[slot] = slot.provisions


class TlsStats:
    """Counted once per handshake. Groups and signatures are counted where OpenSSL can be asked for them."""

    def __init__(self, scope: StatsScope) -> None:
        self._scope = scope.scope("ssl.")
        self._counters = {name: self._scope.counter(name) for name in _NAMES}
        self.handshake = self._counters["handshake"]
        self.session_reused = self._counters["session_reused"]
        self.no_certificate = self._counters["no_certificate"]
        self._named: dict[tuple[str, str], Counter] = {}

    def failure(self, counter: str) -> None:
        """Count a failed handshake by what `TlsFailure.counter` says; "" is counted elsewhere."""
        if counter:
            self._counters[counter].value += 1

    def staple(self, outcome: str) -> None:
        """Count what came of a client's wish for an OCSP response; "" for no wish."""
        if outcome:
            self._counters["ocsp_staple_requests"].value += 1
            self._counters[outcome].value += 1

    def success(self, tls: ssl.SSLObject, info: TlsInfo, peer: Peer) -> None:
        """Count a handshake, and what it agreed on."""
        self.handshake.value += 1
        if tls.session_reused:
            self.session_reused.value += 1
        if not peer.chain:
            self.no_certificate.value += 1
        self.failure(peer.overlooked)
        self._count("versions", info.version)
        self._count("ciphers", info.cipher)
        self._count("curves", info.group)
        self._count("sigalgs", openssl.peer_signature_of(tls))

    def _count(self, kind: str, name: str) -> None:
        if name:
            counter = self._named.get((kind, name))
            if counter is None:
                counter = self._named[kind, name] = self._scope.counter(f"{kind}.{name}")
            counter.value += 1
