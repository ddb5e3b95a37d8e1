"""OCSP responses that are stapled to handshakes (RFC 6066 section 8, RFC 8446 section 4.4.2.1).

A response stands beside a certificate in the configuration, in DER. Nobody is asked over the network and no signature
checked: it is the client who judges. What is looked at is what Envoy looks at: that the response is one, of the
certificate that it stands beside, and, with every handshake, whether its time is over.

Where a client asks for a response, the policy says what becomes of the handshake without a valid one; a certificate
that itself demands a staple (RFC 7633) overrules it. OpenSSL asks in a callback, which notes what came of it for the
statistics.
"""

from __future__ import annotations

import ctypes
import datetime
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.x509 import ocsp

from meshproxy.runtime.tls import openssl
from meshproxy.runtime.tls.failures import MaterialError

if TYPE_CHECKING:
    from meshproxy.runtime.tls.facts import CertificateFacts

_SET_STATUS_CALLBACK = 63  # of openssl/ssl.h and openssl/tls1.h
_SET_RESPONSE = 71
_OK, _FATAL, _NOTHING = 0, 2, 3
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

STAPLED, OMITTED, FAILED = "ocsp_staple_responses", "ocsp_staple_omitted", "ocsp_staple_failed"
"""What came of a client's wish for a response: the names of the statistics."""


class Staple(NamedTuple):
    """A response. starts, ends: when it is valid, in seconds since 1970; a response without an end never is."""

    der: bytes
    starts: float
    ends: float


def parse_staple(der: bytes, leaf: CertificateFacts, label: str) -> Staple | None:
    """The response that stands beside a certificate; None for an empty one. Raises MaterialError."""
    if not der:
        return None
    try:
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise MaterialError(f"OCSP response was unsuccessful: {label}")
        answers = list(response.responses)
        if len(answers) != 1:
            raise MaterialError(f"OCSP Response must be for one certificate only: {label}")
        answer = answers[0]
    except ValueError:
        raise MaterialError(f"OCSP response can't be read: {label}") from None
    if answer.serial_number != int(leaf.serial, 16):
        raise MaterialError(f"OCSP response does not match its TLS certificate: {label}")
    return Staple(der, _seconds(answer.this_update_utc), _seconds(answer.next_update_utc))


def _seconds(when: datetime.datetime | None) -> float:
    return when.timestamp() if when is not None else 0.0


class Staples:
    """Of one server: by what its certificates are in DER. policy: Envoy's name for it.

    Raises MaterialError where a certificate must have one that it hasn't.
    """

    def __init__(self, certificates: Mapping[bytes, tuple[CertificateFacts, Staple | None]], policy: str) -> None:
        self._staples = {der: staple for der, (_, staple) in certificates.items()}
        self._strict = policy == "STRICT_STAPLING"
        self._musts = {der for der, (leaf, _) in certificates.items() if policy == "MUST_STAPLE" or leaf.must_staple}
        if any(self._staples[der] is None for der in self._musts):
            raise MaterialError(
                "Required OCSP response is missing from TLS context"
                if policy == "MUST_STAPLE"
                else "OCSP response is required for must-staple certificate"
            )
        self._outcomes: dict[int, str] = {}
        if openssl.library() is None:
            if any(self._staples.values()):
                raise MaterialError("this Python's ssl can't staple OCSP responses")
            return
        pointer = ctypes.c_void_p
        self._certificate_of = openssl.function("SSL_get_certificate", pointer, pointer)
        self._encode = openssl.function("i2d_X509", ctypes.c_int, pointer, pointer)
        self._allocate = openssl.function("CRYPTO_malloc", pointer, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int)

    def give_to(self, context: ssl.SSLContext) -> None:
        """Have a server's context answer clients that ask."""
        if openssl.library() is None:
            return
        callback = _CALLBACK(self._answer)
        openssl.keep(context, "staples", callback)
        install = openssl.function("SSL_CTX_callback_ctrl", ctypes.c_long, ctypes.c_void_p, ctypes.c_int, _CALLBACK)
        install(openssl.context_pointer(context), _SET_STATUS_CALLBACK, callback)

    def outcome(self, tls: ssl.SSLObject) -> str:
        """What came of the wish of the client whose handshake is over; "" for no wish."""
        return self._outcomes.pop(openssl.object_pointer(tls) or 0, "") if self._outcomes else ""

    def _answer(self, tls: int, _: Any) -> int:
        der = self._der(self._certificate_of(tls))
        staple = self._staples.get(der)
        if staple is not None and staple.ends >= time.time():
            self._outcomes[tls] = STAPLED
            place = self._allocate(len(staple.der), b"", 0)
            ctypes.memmove(place, staple.der, len(staple.der))
            openssl.library().SSL_ctrl(tls, _SET_RESPONSE, len(staple.der), place)  # which frees it
            return _OK
        if der in self._musts or (self._strict and staple is not None):
            self._outcomes[tls] = FAILED
            return _FATAL
        self._outcomes[tls] = OMITTED
        return _NOTHING

    def _der(self, certificate: int | None) -> bytes:
        if certificate is None:
            return b""
        size = self._encode(certificate, None)
        place = ctypes.create_string_buffer(size)
        self._encode(certificate, ctypes.byref(ctypes.c_void_p(ctypes.addressof(place))))
        return place.raw
