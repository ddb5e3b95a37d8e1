"""JSON Web Key Sets (RFC 7517, RFC 7518, RFC 8037), and what they say of a signature.

Which algorithm a signature is checked with, the token only proposes: it must be one of the key's own kind, and the
key's `alg` where it has one, so that a public key is never taken for a secret of HMAC. `cryptography` is imported when
a configuration first has keys.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any

from meshproxy.records import dataclass
from meshproxy_filters.http.jwt_authn.token import Jwt, JwtError, decode_base64url, read_json_object

Check = Callable[[str, bytes, bytes], bool]
"""(algorithm, signature, signed bytes) -> whether the signature is the key's."""

_CURVES = {"P-256": ("ES256", 32), "P-384": ("ES384", 48), "P-521": ("ES512", 66)}
_EDDSA_SIGNATURE, _EDDSA_KEY = 64, 32


@dataclass(frozen=True, slots=True, eq=False)
class Jwk:
    """One key. key_id, algorithm: "" where it says none. algorithms: those that its kind is for."""

    key_id: str
    algorithm: str
    algorithms: frozenset[str]
    check: Check


def read_jwks(data: bytes) -> tuple[Jwk, ...]:
    """The keys of a set; those that can't be used are left out, as RFC 7517 section 5 wants it.

    Raises JwtError when it is no key set, or no key of it can be used.
    """
    jwks = read_json_object(data)
    if jwks is None:
        raise JwtError("Jwks is an invalid JSON")
    if "keys" not in jwks:
        raise JwtError("Jwks does not have [keys] field")
    if not isinstance(jwks["keys"], list):
        raise JwtError("[keys] in Jwks is not an array")
    keys = tuple(key for each in jwks["keys"] if isinstance(each, dict) and (key := _read_key(each)) is not None)
    if not keys:
        raise JwtError("Jwks doesn't have any valid public key")
    return keys


def check_signature(jwt: Jwt, keys: Sequence[Jwk]) -> None:
    """Raises JwtError unless one of the keys made the signature. A key with another `kid` isn't asked."""
    algorithm, asked = jwt.algorithm, False
    for key in keys:
        if jwt.key_id and key.key_id and jwt.key_id != key.key_id:
            continue
        if key.algorithm and key.algorithm != algorithm:
            continue
        asked = True
        if algorithm in key.algorithms and key.check(algorithm, jwt.signature, jwt.signed):
            return
    raise JwtError("Jwt verification fails" if asked else "Jwks doesn't have key to match kid or alg from Jwt")


def _read_key(key: dict[str, Any]) -> Jwk | None:
    key_id, algorithm = _text(key, "kid"), _text(key, "alg")
    match key.get("kty"):
        case "RSA":
            algorithms, check = _read_rsa(key)
        case "EC":
            algorithms, check = _read_ec(key)
        case "OKP":
            algorithms, check = _read_okp(key)
        case "oct":
            algorithms, check = _read_oct(key)
        case _:
            return None
    if check is None or (algorithm and algorithm not in algorithms):
        return None
    return Jwk(key_id, algorithm, algorithms, check)


def _text(key: dict[str, Any], name: str) -> str:
    """A field of text; "" when it is absent or no text."""
    value = key.get(name)
    return value if isinstance(value, str) else ""


def _part(key: dict[str, Any], name: str) -> bytes:
    """A field of bytes; b"" when it is absent or malformed."""
    value = key.get(name)
    return (decode_base64url(value) or b"") if isinstance(value, str) else b""


def _read_rsa(key: dict[str, Any]) -> tuple[frozenset[str], Check | None]:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    algorithms = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"))
    modulus, exponent = int.from_bytes(_part(key, "n")), int.from_bytes(_part(key, "e"))
    try:
        public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        return algorithms, None
    digests: dict[str, hashes.HashAlgorithm] = {
        "256": hashes.SHA256(),
        "384": hashes.SHA384(),
        "512": hashes.SHA512(),
    }

    def check(algorithm: str, signature: bytes, signed: bytes) -> bool:
        digest = digests[algorithm[2:]]
        scheme: padding.AsymmetricPadding = padding.PKCS1v15()
        if algorithm.startswith("PS"):
            scheme = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
        try:
            public.verify(signature, signed, scheme, digest)
        except InvalidSignature:
            return False
        return True

    return algorithms, check


def _read_ec(key: dict[str, Any]) -> tuple[frozenset[str], Check | None]:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    curve = key.get("crv")
    if not isinstance(curve, str) or curve not in _CURVES:
        return frozenset(), None
    algorithm, size = _CURVES[curve]
    algorithms = frozenset((algorithm,))
    curves: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    digest = {32: hashes.SHA256(), 48: hashes.SHA384(), 66: hashes.SHA512()}[size]
    x, y = _part(key, "x"), _part(key, "y")
    try:
        public = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curves[curve]).public_key()
    except ValueError:
        return algorithms, None

    def check(algorithm: str, signature: bytes, signed: bytes) -> bool:
        if len(signature) != 2 * size:
            return False
        encoded = utils.encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
        try:
            public.verify(encoded, signed, ec.ECDSA(digest))
        except InvalidSignature:
            return False
        return True

    return algorithms, check if x and y else None


def _read_okp(key: dict[str, Any]) -> tuple[frozenset[str], Check | None]:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    algorithms = frozenset(("EdDSA",))
    data = _part(key, "x")
    if key.get("crv") != "Ed25519" or len(data) != _EDDSA_KEY:
        return algorithms, None
    public = Ed25519PublicKey.from_public_bytes(data)

    def check(algorithm: str, signature: bytes, signed: bytes) -> bool:
        if len(signature) != _EDDSA_SIGNATURE:
            raise JwtError("Jwt ED25519 signature is wrong length")
        try:
            public.verify(signature, signed)
        except InvalidSignature:
            return False
        return True

    return algorithms, check


def _read_oct(key: dict[str, Any]) -> tuple[frozenset[str], Check | None]:
    algorithms = frozenset(("HS256", "HS384", "HS512"))
    secret = _part(key, "k")

    def check(algorithm: str, signature: bytes, signed: bytes) -> bool:
        return hmac.compare_digest(signature, hmac.digest(secret, signed, f"sha{algorithm[2:]}"))

    return algorithms, check if secret else None
