"""What a failed handshake is called: in Envoy's words, which are BoringSSL's, made from OpenSSL's.

Envoy puts BoringSSL's error queue into logs and replies: `TLS_error:|268435581:SSL routines:OPENSSL_internal:
CERTIFICATE_VERIFY_FAILED:<why>:TLS_error_end`. The number is 16 << 24 (the library) plus the reason. Reasons that
OpenSSL names otherwise, or that BoringSSL doesn't have, keep OpenSSL's name and the number 0 for the reason.
"""

from __future__ import annotations

import errno
import ssl

from meshproxy.runtime.upstream.connections.connect import TransportFailure

_LIBRARY = 16 << 24
_ALERTS = 1000
_REASONS = {
    "BAD_SIGNATURE": 111,
    "CERTIFICATE_VERIFY_FAILED": 125,
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": 130,
    "DIGEST_CHECK_FAILED": 134,
    "HANDSHAKE_FAILURE_ON_CLIENT_HELLO": 154,
    "HTTPS_PROXY_REQUEST": 155,
    "HTTP_REQUEST": 156,
    "NO_SHARED_CIPHER": 184,
    "NO_SHARED_GROUP": 266,
    "NO_COMMON_SIGNATURE_ALGORITHMS": 253,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": 192,
    "UNEXPECTED_MESSAGE": 236,
    "UNSUPPORTED_PROTOCOL": 240,
    "WRONG_VERSION_NUMBER": 247,
}
# OpenSSL's names of what BoringSSL calls otherwise.
_RENAMED = {
    "NO_SUITABLE_KEY_SHARE": "NO_SHARED_GROUP",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "NO_COMMON_SIGNATURE_ALGORITHMS",
    "NO_SUITABLE_GROUPS": "NO_SHARED_GROUP",
    "VERSION_TOO_LOW": "UNSUPPORTED_PROTOCOL",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "TLSV1_ALERT_CERTIFICATE_REQUIRED",
    "TLSV13_ALERT_MISSING_EXTENSION": "TLSV1_ALERT_MISSING_EXTENSION",
    "TLSV1_UNSUPPORTED_EXTENSION": "TLSV1_ALERT_UNSUPPORTED_EXTENSION",
    "TLSV1_CERTIFICATE_UNOBTAINABLE": "TLSV1_ALERT_CERTIFICATE_UNOBTAINABLE",
    "TLSV1_UNRECOGNIZED_NAME": "TLSV1_ALERT_UNRECOGNIZED_NAME",
    "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE": "TLSV1_ALERT_BAD_CERTIFICATE_STATUS_RESPONSE",
    "TLSV1_BAD_CERTIFICATE_HASH_VALUE": "TLSV1_ALERT_BAD_CERTIFICATE_HASH_VALUE",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
}
_VERIFY_MESSAGES = {"unsuitable certificate purpose": "unsupported certificate purpose"}
_ALERT_NUMBERS = {
    "UNEXPECTED_MESSAGE": 10,
    "BAD_RECORD_MAC": 20,
    "DECRYPTION_FAILED": 21,
    "RECORD_OVERFLOW": 22,
    "DECOMPRESSION_FAILURE": 30,
    "HANDSHAKE_FAILURE": 40,
    "NO_CERTIFICATE": 41,
    "BAD_CERTIFICATE": 42,
    "UNSUPPORTED_CERTIFICATE": 43,
    "CERTIFICATE_REVOKED": 44,
    "CERTIFICATE_EXPIRED": 45,
    "CERTIFICATE_UNKNOWN": 46,
    "ILLEGAL_PARAMETER": 47,
    "UNKNOWN_CA": 48,
    "ACCESS_DENIED": 49,
    "DECODE_ERROR": 50,
    "DECRYPT_ERROR": 51,
    "PROTOCOL_VERSION": 70,
    "INSUFFICIENT_SECURITY": 71,
    "INTERNAL_ERROR": 80,
    "INAPPROPRIATE_FALLBACK": 86,
    "USER_CANCELLED": 90,
    "NO_RENEGOTIATION": 100,
    "MISSING_EXTENSION": 109,
    "UNSUPPORTED_EXTENSION": 110,
    "CERTIFICATE_UNOBTAINABLE": 111,
    "UNRECOGNIZED_NAME": 112,
    "BAD_CERTIFICATE_STATUS_RESPONSE": 113,
    "BAD_CERTIFICATE_HASH_VALUE": 114,
    "UNKNOWN_PSK_IDENTITY": 115,
    "CERTIFICATE_REQUIRED": 116,
    "NO_APPLICATION_PROTOCOL": 120,
}


class MaterialError(Exception):
    """A certificate, key or authority that can't be used. The text names the file, never its content."""


class TlsFailure(TransportFailure):
    """A handshake that failed, or a peer that isn't accepted. The text is Envoy's transport failure reason.

    counter: which of the `ssl.` statistics counts it.
    """

    def __init__(self, text: str, counter: str = "connection_error") -> None:
        super().__init__(text)
        self.counter = counter


def verify_failure(why: str, counter: str) -> TlsFailure:
    """A certificate that isn't accepted; `why` as Envoy says it."""
    return TlsFailure(_queue("CERTIFICATE_VERIFY_FAILED", f"verify cert failed: {why}"), counter)


def not_ready() -> TlsFailure:
    """There is no certificate yet."""
    return TlsFailure("TLS error: Secret is not supplied by SDS", "")


def reset_by_peer() -> TlsFailure:
    """The peer's RST in the midst of a handshake, which Envoy counts nowhere."""
    text = f"TLS_error:|{(2 << 24) + errno.ECONNRESET}:system library:OPENSSL_internal:Connection reset by peer"
    return TlsFailure(f"{text}:TLS_error_end", "")


def describe(error: ssl.SSLError, *, answers_hello: bool = False) -> TlsFailure:
    """What OpenSSL raised from a handshake. answers_hello: all that we have said is the ClientHello."""
    if isinstance(error, ssl.SSLCertVerificationError):
        # OpenSSL knows the depth too, but `ssl` doesn't tell it; nearly always it is the leaf's.
        why = _VERIFY_MESSAGES.get(error.verify_message, error.verify_message)
        why = f"X509_verify_cert: certificate verification error at depth 0: {why}"
        return verify_failure(why, "fail_verify_error")
    reason = error.reason or "UNKNOWN"
    reason = _RENAMED.get(reason, reason)
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return TlsFailure(_queue(reason, "peer did not provide required client certificate"), "fail_verify_no_cert")
    if answers_hello and reason == "SSLV3_ALERT_HANDSHAKE_FAILURE":
        return TlsFailure(_queue(reason, then="HANDSHAKE_FAILURE_ON_CLIENT_HELLO"))
    return TlsFailure(_queue(reason))


def _queue(reason: str, data: str = "", *, then: str = "") -> str:
    """BoringSSL's queue of errors: one, perhaps with what it is about, and perhaps another one behind it."""
    alert = reason.rpartition("_ALERT_")[2] if "_ALERT_" in reason else ""
    number = _ALERTS + _ALERT_NUMBERS[alert] if alert in _ALERT_NUMBERS else _REASONS.get(reason, 0)
    text = f"{reason}:{data}" if data else reason
    if then:
        text += f"|{_LIBRARY + _REASONS[then]}:SSL routines:OPENSSL_internal:{then}"
    return f"TLS_error:|{_LIBRARY + number}:SSL routines:OPENSSL_internal:{text}:TLS_error_end"
