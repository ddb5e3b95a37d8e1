"""JSON Web Tokens for tests: fixed keys of every kind, their key set, and tokens signed with them."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

_RSA = """\
-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDiZJQ257TY2IdV
TbM6yH9AX5NX2Pd9JawdoWLOIGm5oDoQEvDcudspNnroumQY8vuT4JEunjJSI/FZ
wyDjNrbRUttHpycdGP2UwKbVYfCXhBIisVaJZ8IsFqZ4NsIyjFUeoRGNuXwDNisH
hcM/0xiXeRtCB9RlA4TDEDqIGYlY3nHWS99xuDt9HGHDpV3npyUz02EzRTDIy0En
D20QhQPCoaKb4InNlRwfTFiqNv59QmuJVABUDanqsulnjYh/0GBg7rNRkbk0F7qD
ZvOQdlgI4cMCT7J8PvZAE2MVOJ9wpdNMp7ASjpNfEvdSNPkzKDmcVolNIEKUoK3t
b5P/u3lTAgMBAAECggEAMpfzn4mMmuFY7TFeGobwGTzCuuEb/fXLTxvf7tzDg95Q
24LAHTPTzJQGR7hP4lt66YNILrjf2gd6SmsXEHALzx/LLWonjZMmKHYdUpZ+o/25
59Ll2fM8K4osTbU/FPjTlPK974RCOJ2EZDv6dGsCledUth710lVE+CrKSdwbG6a+
+dMWi8HJ0JmL1l9vLjHSbMz5xB+BhfXTo58T3a8fQ7Tsgku9peo1TosOBExXoxCi
Ek/qMKxaIVP2Z7T/d55+RBddR2enuZUUPBK6Q4cEwJDPxB5W9bMwuVKbj6Wrga1N
Ie24qqtZRcqVUu7NfZQLFljiA/iUC8c8TQUOfn9yoQKBgQD3VCtOlwxgO+M13X0C
Q7dmoybjCtTrAqL7GG6aKOmzsb0I2JC84d3CiaQkxhLypWfYxheDtrmY8qGfgQT0
LnL0uHWGi3oTUqg8nHthLmkRVCYHUj7CHhgbIoVrRn99L+AMNufe8AclAWpnF2et
DRA4qus5BpUTPDag1oon8R7BGQKBgQDqVIFk3J+GDfNaHYteKfMFB8CecLXPltXH
aaWxKBZrY5DxCFmf73WSaer2ntjaG5kuamhH4xiEptuP9nwmDGSN1k9pIigGEHmz
7XDKzSRPEXxHJ8L/eBaXxtWm8cPPloLjYTWdvUEhgemr2vGlkMt33VGT8KQBTIp9
uIUV24n/SwKBgF0LhitPufEuNoEaLSA/92webs+1UHqFCGlsPJe0Uo8ui44bYwAb
/MBl5aGL/q7YOSQdCdWcVWBLzy/hasqt+sND7brLGAbS7sW2nNfnjNFfFdtlPoTq
q2jx6L19zRJ8g041DbAaHqX2TWAxNuisZHDdJBbU+ho9adPCQkFafZZpAoGALGlp
wLkDzv9z4N96m5UtxwVKH31TKA35ZHsEeUgUv7O2M8iWW/ahfOdwLd+7T9MtPBvU
udMzwWhycp2PuBJfOHamxFFB7qxOtKhK2VT6DbZNrJq/nXWgKpH3ylVF/GEVW40A
AW5uGrCpnfW4GN4Rgh1DKdvQ6aIdGWjQaG0cgXMCgYEA4P22CEVbrLG61qkb9z2m
fVxjmWiMGvR/bVOSAcrScyXizmbmLJyrd1TkhYy1PjkWNqmP21BtGwTEyWdK4Y4O
tg/CAZKot3StBl/OdnyofY3N8O6asEy7H/B5tketM1rz0smeJPtVau24kSeRk8Tb
WE0SwyWY+fkk17NeUaoLxQw=
-----END PRIVATE KEY-----
"""
_SECRET = b"a secret of thirty-two bytes ...."
_CURVES = {"ES256": (ec.SECP256R1(), 32), "ES384": (ec.SECP384R1(), 48), "ES512": (ec.SECP521R1(), 66)}
_DIGESTS = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
ALGORITHMS = [f"{kind}{size}" for kind in ("RS", "PS", "ES", "HS") for size in (256, 384, 512)] + ["EdDSA"]


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int, size: int) -> str:
    return base64url(value.to_bytes(size))


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(_RSA.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@cache
def ec_key(algorithm: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(0x1234567890ABCDEF, _CURVES[algorithm][0])


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def jwk(algorithm: str, **more: Any) -> dict[str, Any]:
    """The public key for an algorithm (the secret of HMAC), without `kid` and `alg` unless `more` has them."""
    kind = algorithm[:2]
    if kind in ("RS", "PS"):
        numbers = rsa_key().public_key().public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n, 256), "e": _number(numbers.e, 3), **more}
    if kind == "ES":
        _, size = _CURVES[algorithm]
        point = ec_key(algorithm).public_key().public_numbers()
        name = {32: "P-256", 48: "P-384", 66: "P-521"}[size]
        return {"kty": "EC", "crv": name, "x": _number(point.x, size), "y": _number(point.y, size), **more}
    if kind == "Ed":
        raw = ed_key().public_key().public_bytes_raw()
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(raw), **more}
    return {"kty": "oct", "k": base64url(_SECRET), **more}


def jwks(*keys: Mapping[str, Any]) -> str:
    """A key set; of RS256 without keys."""
    return json.dumps({"keys": list(keys) or [jwk("RS256", kid="k1", alg="RS256")]})


def sign(algorithm: str, data: bytes) -> bytes:
    digest = _DIGESTS.get(algorithm[2:], hashes.SHA256())
    match algorithm[:2]:
        case "RS":
            return rsa_key().sign(data, padding.PKCS1v15(), digest)
        case "PS":
            return rsa_key().sign(data, padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH), digest)
        case "ES":
            size = _CURVES[algorithm][1]
            r, s = utils.decode_dss_signature(ec_key(algorithm).sign(data, ec.ECDSA(digest)))
            return r.to_bytes(size) + s.to_bytes(size)
        case "Ed":
            return ed_key().sign(data)
        case _:
            return hmac.digest(_SECRET, data, f"sha{algorithm[2:]}")


def raw_token(header: bytes, payload: bytes, algorithm: str = "RS256") -> str:
    """A token of any bytes, signed."""
    signed = f"{base64url(header)}.{base64url(payload)}"
    return f"{signed}.{base64url(sign(algorithm, signed.encode()))}"


def token(claims: Mapping[str, Any] | None = None, algorithm: str = "RS256", **header: Any) -> str:
    """A signed token; of issuer "iss" with a `sub` unless `claims` say otherwise. A claim of None is left out."""
    payload = {"iss": "iss", "sub": "ann", **(claims or {})}
    payload = {name: value for name, value in payload.items() if value is not None}
    return raw_token(json.dumps({"alg": algorithm, **header}).encode(), json.dumps(payload).encode(), algorithm)
