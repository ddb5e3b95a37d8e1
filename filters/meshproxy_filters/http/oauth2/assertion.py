"""A client that proves who it is by a token that it signs (RFC 7523 section 2.2)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from meshproxy.records import dataclass
from meshproxy_filters.http.oauth2.sealing import encode_base64url

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_HASHES: dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_LIFETIME_SECONDS = 60


class CannotSign(Exception):
    """The key is none, or isn't of the kind that the algorithm needs."""


@dataclass(frozen=True, slots=True)
class ClientAssertion:
    """lifetime: seconds."""

    algorithm: str
    lifetime: int
    audience: str

    def make(self, client_id: str, key: bytes, now: int) -> str:
        """The token. key: in PEM. now: seconds since 1970. Raises CannotSign."""
        claims: dict[str, object] = {
            "iss": client_id,
            "sub": client_id,
            "aud": self.audience,
            "exp": now + self.lifetime,
        }
        claims |= {"iat": now, "nbf": now, "jti": str(uuid.uuid4())}
        signed = f"{_part({'alg': self.algorithm, 'typ': 'JWT'})}.{_part(claims)}"
        return f"{signed}.{encode_base64url(self._sign(signed.encode(), key))}"

    def _sign(self, data: bytes, key: bytes) -> bytes:
        kind, digest = self.algorithm[:2], _HASHES[self.algorithm[2:]]()
        try:
            private = load_pem_private_key(key, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise CannotSign("Failed to parse private key PEM for JWT signing") from error
        if kind == "RS" and isinstance(private, rsa.RSAPrivateKey):
            return private.sign(data, padding.PKCS1v15(), digest)
        if kind == "ES" and isinstance(private, ec.EllipticCurvePrivateKey):
            first, second = decode_dss_signature(private.sign(data, ec.ECDSA(digest)))
            width = (private.key_size + 7) // 8
            return first.to_bytes(width, "big") + second.to_bytes(width, "big")
        raise CannotSign(f"{self.algorithm} requires an {'RSA' if kind == 'RS' else 'EC'} private key")


def _part(value: Mapping[str, object]) -> str:
    return encode_base64url(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def read_assertion(view: ConfigView | None, token_uri: str) -> ClientAssertion:
    """`PrivateKeyJwtConfig`."""
    if view is None:
        return ClientAssertion("RS256", _LIFETIME_SECONDS, token_uri)
    return ClientAssertion(
        view.enum("signing_algorithm"),
        int(view.seconds("assertion_lifetime", _LIFETIME_SECONDS)),
        view.text("assertion_audience") or token_uri,
    )
