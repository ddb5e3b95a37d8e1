"""What the filter signs, encrypts and proves: all that it lets a browser keep.

The HMAC secret signs the cookies of a login and the value that guards a callback, and its SHA-256 is the key that
tokens and the PKCE verifier are encrypted with. The forms are Envoy's, so that both can read each other's cookies:
AES-256-CBC with the vector in front, or AES-256-GCM behind `gcm.`, where the runtime says so.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from meshproxy.headers import check_value
from meshproxy.plugin.secret import LiveSecret
from meshproxy.plugin.stats import Counter
from meshproxy.runtime_values import Live, RuntimeValues
from meshproxy_filters.http.jwt_authn.token import decode_base64url

_GCM = "gcm."
_NONCE_BYTES = 12
_BLOCK_BYTES = 16
_BLOCK_BITS = 128


class SealBroken(Exception):
    """What a browser sent back isn't what it was given, or was given under another secret."""


class Sealer:
    """Signs and seals with the secret as it is now. legacy: counts what was opened that CBC had sealed."""

    def __init__(self, secret: LiveSecret, runtime: RuntimeValues, legacy: Counter) -> None:
        self._secret = secret
        self._legacy = legacy
        self._gcm: Live[bool] = runtime.flag("envoy.reloadable_features.oauth2_use_gcm_encryption", False)
        self._reads_cbc: Live[bool] = runtime.flag("envoy.reloadable_features.oauth2_legacy_cbc_decrypt_compat", True)

    @property
    def ready(self) -> bool:
        return bool(self._secret.value)

    def sign(self, message: str) -> str:
        return base64.b64encode(self._digest(message)).decode()

    def is_signed(self, message: str, signature: str) -> bool:
        """Also as older releases wrote it: the base64 of hexadecimal digits."""
        digest, given = self._digest(message), signature.encode("latin-1")
        older = base64.b64encode(digest.hex().encode())
        return hmac.compare_digest(base64.b64encode(digest), given) or hmac.compare_digest(older, given)

    def _digest(self, message: str) -> bytes:
        return hmac.digest(self._secret.value, message.encode("latin-1"), "sha256")

    def _key(self) -> bytes:
        return hashlib.sha256(self._secret.value).digest()

    def seal(self, text: str) -> str:
        plain = text.encode("latin-1")
        if self._gcm.value:
            nonce = secrets.token_bytes(_NONCE_BYTES)
            return _GCM + encode_base64url(nonce + AESGCM(self._key()).encrypt(nonce, plain, None))
        vector = secrets.token_bytes(_BLOCK_BYTES)
        padder = padding.PKCS7(_BLOCK_BITS).padder()
        encryptor = Cipher(algorithms.AES(self._key()), modes.CBC(vector)).encryptor()
        padded = padder.update(plain) + padder.finalize()
        return encode_base64url(vector + encryptor.update(padded) + encryptor.finalize())

    def open(self, sealed: str) -> str:
        """Raises SealBroken."""
        if sealed.startswith(_GCM):
            data = decode_base64url(sealed.removeprefix(_GCM)) or b""
            try:
                return AESGCM(self._key()).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], None).decode("latin-1")
            except (InvalidTag, ValueError) as error:
                raise SealBroken("decryption failed") from error
        if not self._reads_cbc.value:
            raise SealBroken("it isn't sealed with AES-GCM")
        opened = self._open_cbc(decode_base64url(sealed) or b"")
        self._legacy.value += 1
        return opened

    def _open_cbc(self, data: bytes) -> str:
        if len(data) <= _BLOCK_BYTES:
            raise SealBroken("Invalid encrypted data")
        decryptor = Cipher(algorithms.AES(self._key()), modes.CBC(data[:_BLOCK_BYTES])).decryptor()
        unpadder = padding.PKCS7(_BLOCK_BITS).unpadder()
        try:
            padded = decryptor.update(data[_BLOCK_BYTES:]) + decryptor.finalize()
            return (unpadder.update(padded) + unpadder.finalize()).decode("latin-1")
        except ValueError as error:
            raise SealBroken("failed to finalize decryption") from error

    def open_token(self, sealed: str) -> str:
        """A token, or what was given where that isn't a sealed one: its signature then decides."""
        try:
            opened = self.open(sealed)
            check_value(opened)
        except (SealBroken, ValueError):
            return sealed
        return opened


def encode_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def new_flow_id() -> str:
    return secrets.token_hex(8)


def new_code_verifier() -> str:
    """RFC 7636 section 4.1."""
    return encode_base64url(secrets.token_bytes(32))


def code_challenge(verifier: str) -> str:
    """RFC 7636 section 4.2, `S256`."""
    return encode_base64url(hashlib.sha256(verifier.encode()).digest())
