"""`ssl.` statistics of a listener or cluster (Envoy: "TLS statistics")."""

from __future__ import annotations

from meshproxy.plugin.stats import Counter, StatsScope

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
)


class TlsStats:
    """Counted once per handshake. `ssl` names neither group nor signature algorithm: those aren't counted."""

    def __init__(self, scope: StatsScope) -> None:
        self._scope = scope.scope("ssl.")
        self._failures = {name: self._scope.counter(name) for name in _NAMES}
        self.handshake = self._failures["handshake"]
        self.session_reused = self._failures["session_reused"]
        self.no_certificate = self._failures["no_certificate"]
        self._named: dict[str, Counter] = {}

    def failure(self, counter: str) -> None:
        """Count a failed handshake by what `TlsFailure.counter` says; "" is counted elsewhere."""
        if counter:
            self._failures[counter].value += 1

    def success(self, version: str, cipher: str, *, reused: bool, peer_has_certificate: bool) -> None:
        """Count a handshake."""
        self.handshake.value += 1
        if reused:
            self.session_reused.value += 1
        if not peer_has_certificate:
            self.no_certificate.value += 1
        for name in (f"versions.{version}", f"ciphers.{cipher}"):
            counter = self._named.get(name)
            if counter is None:
                counter = self._named[name] = self._scope.counter(name)
            counter.value += 1
