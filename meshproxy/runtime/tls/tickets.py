"""Session tickets sealed with configured keys, so that others who have the keys can resume the sessions.

A key is 80 bytes: 16 of its name, 32 for HMAC-SHA256, 32 for AES-256-CBC, as RFC 5077 section 4 recommends and Envoy
has it. The first one seals; all of them open, and what a later one has opened is sealed anew with the first.

A ticket is opened only in the realm where it was sealed: by servers that show the same names and judge clients by the
same rules. The realm is part of the HMAC's key: a ticket of another one is as good as forged, and a whole handshake
follows. OpenSSL's own word for it, the context of session ids, can't be relied upon: from Python 3.13 on `ssl` sets it
on each connection, the same for everybody.

What stands in a ticket is OpenSSL's form of a session: Envoy can't resume it, nor we Envoy's.
"""

from __future__ import annotations

import ctypes
import hmac
import os
import ssl
from collections.abc import Sequence
from typing import Any

from meshproxy.runtime.tls import openssl
from meshproxy.runtime.tls.failures import MaterialError

KEY_SIZE = 80
_NAME_SIZE, _IV_SIZE = 16, 16
_UTF8_STRING, _OCTET_STRING = 4, 5  # of openssl/core.h
_FAILED, _UNKNOWN, _OPENED, _OPENED_WITH_AN_OLD_KEY = -1, 0, 1, 2
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_ubyte),
    ctypes.POINTER(ctypes.c_ubyte),
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int,
)


class _Parameter(ctypes.Structure):
    """`OSSL_PARAM`."""

    _fields_ = (
        ("key", ctypes.c_char_p),
        ("kind", ctypes.c_uint),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("returned", ctypes.c_size_t),
    )


def check_keys(keys: Sequence[bytes]) -> None:
    """Raises MaterialError for a key of another length."""
    for key in keys:
        if len(key) != KEY_SIZE:
            raise MaterialError(
                f"Incorrect TLS session ticket key length. Length {len(key)}, expected length {KEY_SIZE}."
            )


def seal_with(context: ssl.SSLContext, keys: Sequence[bytes], realm: bytes) -> None:
    """Have a server's context seal its tickets with these keys, for its realm. Raises MaterialError."""
    try:
        callback = _CALLBACK(_Sealing([_of_realm(key, realm) for key in keys]))
        install = openssl.function("SSL_CTX_set_tlsext_ticket_key_evp_cb", ctypes.c_long, ctypes.c_void_p, _CALLBACK)
    except AttributeError:
        raise MaterialError("this Python's ssl can't take keys for session tickets") from None
    openssl.keep(context, "tickets", callback)
    install(openssl.context_pointer(context), callback)


def _of_realm(key: bytes, realm: bytes) -> bytes:
    """The key, with what is for HMAC made from it and the realm."""
    return key[:_NAME_SIZE] + hmac.digest(key[16:48], realm, "sha256") + key[48:]


class _Sealing:
    """What OpenSSL calls for each ticket that it writes or gets."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {key[:_NAME_SIZE]: key for key in reversed(keys)}
        self._first = keys[0]
        pointer = ctypes.c_void_p
        types = (pointer, pointer, pointer, ctypes.c_char_p, ctypes.c_char_p)
        self._encrypt = openssl.function("EVP_EncryptInit_ex", ctypes.c_int, *types)
        self._decrypt = openssl.function("EVP_DecryptInit_ex", ctypes.c_int, *types)
        self._cipher = openssl.function("EVP_aes_256_cbc", pointer)
        self._sign = openssl.function("EVP_MAC_CTX_set_params", ctypes.c_int, pointer, ctypes.POINTER(_Parameter))

    def __call__(self, tls: int, name: Any, iv: Any, cipher: int, mac: int, sealing: int) -> int:
        if sealing:
            key = self._first
            ctypes.memmove(name, key, _NAME_SIZE)
            ctypes.memmove(iv, os.urandom(_IV_SIZE), _IV_SIZE)
        else:
            known = self._keys.get(bytes(name[:_NAME_SIZE]))
            if known is None:
                return _UNKNOWN
            key = known
        begin = self._encrypt if sealing else self._decrypt
        # The key's last part follows its second, and a NUL that ctypes adds; OpenSSL reads as much as it needs.
        begun = begin(cipher, self._cipher(), None, key[48:], bytes(iv[:_IV_SIZE]))
        if not (begun and self._set_mac(mac, key[16:48])):
            return _FAILED
        return _OPENED if key is self._first else _OPENED_WITH_AN_OLD_KEY

    def _set_mac(self, mac: int, key: bytes) -> bool:
        secret = ctypes.create_string_buffer(key, len(key))
        digest = ctypes.create_string_buffer(b"SHA256")
        parameters = (_Parameter * 3)(
            _Parameter(b"key", _OCTET_STRING, ctypes.addressof(secret), len(key), 0),
            _Parameter(b"digest", _UTF8_STRING, ctypes.addressof(digest), len(digest) - 1, 0),
            _Parameter(),
        )
        return bool(self._sign(mac, parameters))
