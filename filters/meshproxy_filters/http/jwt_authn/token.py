"""JSON Web Tokens in compact form (RFC 7519, RFC 7515), read but not yet trusted.

A token comes from anybody, so reading one raises nothing but `JwtError`, whose text is the body of Envoy's answer.
"""

from __future__ import annotations

import binascii
import json
from functools import lru_cache
from typing import Any, NoReturn

ALGORITHMS = frozenset({f"{kind}{size}" for kind in ("ES", "HS", "RS", "PS") for size in (256, 384, 512)} | {"EdDSA"})
MAX_DEPTH = 100
"""Levels of nesting in JSON; protobuf's parser, which Envoy reads with, has the same limit."""

# What base64 has and base64url hasn't becomes what neither has.
_TO_STANDARD = bytes.maketrans(b"-_+/", b"+/!!")
_WHITE_SPACE = b" \t\n\v\f\r"
_LONGEST_REMEMBERED_HEADER = 256
_MAX_UINT64 = 2**64


_FORM = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
_STATUSES = (
    "OK",
    "Jwt is missing",
    "Jwt not yet valid",
    "Jwt is expired",
    _FORM,
    "Jwt header is an invalid Base64url encoded",
    "Jwt header is an invalid JSON",
    "Jwt header [alg] field is required and must be a string",
    "Jwt header [alg] is not supported",
    "Jwt header [kid] field is not a string",
    "Jwt payload is an invalid Base64url encoded",
    "Jwt payload is an invalid JSON",
    "Jwt payload [iss] field is not a string",
    "Jwt payload [sub] field is not a string",
    "Jwt payload [iat] field is not an integer",
    "Jwt payload [iat] field is not a positive 64 bit integer",
    "Jwt payload [nbf] field is not an integer",
    "Jwt payload [nbf] field is not a positive 64 bit integer",
    "Jwt payload [exp] field is not an integer",
    "Jwt payload [exp] field is not a positive 64 bit integer",
    "Jwt payload [jti] field is not a string",
    "Jwt payload [aud] field is not a string or string list",
    "Jwt signature is an invalid Base64url encoded",
    "Jwt ED25519 signature is wrong length",
    "Jwt issuer is not configured",
    "Audiences in Jwt are not allowed",
    "Jwt verification fails",
    "Found multiple Jwt tokens",
    "Jwks is an invalid JSON",
    "Jwks does not have [keys] field",
    "[keys] in Jwks is not an array",
    "Jwks doesn't have any valid public key",
    "Jwks doesn't have key to match kid or alg from Jwt",
)
STATUS_CODES = {text: number for number, text in enumerate(_STATUSES)}
"""Envoy's numbers of its faults, for `failed_status_in_metadata`; they are those of google/jwt_verify_lib."""


class JwtError(Exception):
    """The token, or the keys for it, can't be used. The text is Envoy's."""


def decode_base64url(text: str) -> bytes | None:
    """The bytes that base64url (RFC 7515 section 2) stands for; None when it is malformed.

    As in Envoy white space doesn't count, and padding may be there if it is whole.
    """
    try:
        data = text.encode("ascii").translate(_TO_STANDARD, _WHITE_SPACE)
    except UnicodeEncodeError:
        return None
    if not data.endswith(b"="):
        data += b"=" * (-len(data) % 4)
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error:
        return None


def read_json_object(data: bytes) -> dict[str, Any] | None:
    """A JSON object (RFC 8259) of at most `MAX_DEPTH` levels where no name stands twice; None for anything else."""
    try:
        value = _decode_json(data.decode("utf-8"))
    except (ValueError, RecursionError):  # the second for nesting that no honest token has
        return None
    if not isinstance(value, dict) or (data.count(b"[") + data.count(b"{") > MAX_DEPTH and not _is_shallow(value)):
        return None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name that stands twice means something else to each reader")
    return found


_decode_json = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique_names).decode


def _is_shallow(value: Any) -> bool:
    """Whether it has at most `MAX_DEPTH` levels. Without recursion: that is the point of it."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += [inner for inner in item.values() if isinstance(inner, dict | list)]
            else:
                below += [inner for inner in item if isinstance(inner, dict | list)]
        if not below:
            return True
        level = below
    return False


class Jwt:
    """A token's parts. Dates are seconds since 1970, 0 where there is none; issuer is "" where there is none.

    header, payload: the JSON objects. payload_text: its base64url. signed: the bytes that the signature is of.
    """

    __slots__ = (
        "algorithm",
        "audiences",
        "expires",
        "header",
        "issued",
        "issuer",
        "key_id",
        "not_before",
        "payload",
        "payload_text",
        "signature",
        "signed",
        "subject",
    )

    def __init__(self, text: str) -> None:
        """Read a token. As in Envoy further dots between its parts and around them don't count. Raises JwtError."""
        parts = [part for part in text.split(".") if part]
        if len(parts) != 3:
            raise JwtError(_FORM)
        self.payload_text = parts[1]
        self.signed = f"{parts[0]}.{parts[1]}".encode("latin-1", "replace")
        # The tokens of an issuer differ in what they claim; their headers are the same.
        read = _remembered_header if len(parts[0]) <= _LONGEST_REMEMBERED_HEADER else _read_header
        self.header, self.algorithm, self.key_id = read(parts[0])
        self.payload = _read_part(parts[1], "payload")
        self._read_payload()
        signature = decode_base64url(parts[2])
        if signature is None:
            raise JwtError("Jwt signature is an invalid Base64url encoded")
        self.signature = signature

    def _read_payload(self) -> None:
        payload = self.payload
        self.issuer = _read_text(payload, "iss")
        self.subject = _read_text(payload, "sub")
        self.issued = _read_date(payload, "iat")
        self.not_before = _read_date(payload, "nbf")
        self.expires = _read_date(payload, "exp")
        _read_text(payload, "jti")
        audiences = payload.get("aud", [])
        if isinstance(audiences, str):
            audiences = [audiences]
        if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
            raise JwtError("Jwt payload [aud] field is not a string or string list")
        self.audiences: list[str] = audiences

    def check_dates(self, now: float, skew: int) -> None:
        """Raises JwtError when it isn't valid yet or no more. now: seconds since 1970. skew: seconds of grace."""
        whole = int(now)
        if self.not_before > whole + skew:
            raise JwtError("Jwt not yet valid")
        if self.expires and whole > self.expires + skew:
            raise JwtError("Jwt is expired")


def _read_header(text: str) -> tuple[dict[str, Any], str, str]:
    """The header, which nobody changes, the algorithm and the key that it names. Raises JwtError."""
    header = _read_part(text, "header")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise JwtError("Jwt header [alg] field is required and must be a string")
    if algorithm not in ALGORITHMS:
        raise JwtError("Jwt header [alg] is not supported")
    key_id = header.get("kid", "")
    if not isinstance(key_id, str):
        raise JwtError("Jwt header [kid] field is not a string")
    return header, algorithm, key_id


_remembered_header = lru_cache(maxsize=64)(_read_header)


def _read_part(text: str, name: str) -> dict[str, Any]:
    data = decode_base64url(text)
    if data is None:
        raise JwtError(f"Jwt {name} is an invalid Base64url encoded")
    value = read_json_object(data)
    if value is None:
        raise JwtError(f"Jwt {name} is an invalid JSON")
    return value


def _read_text(payload: dict[str, Any], name: str) -> str:
    value = payload.get(name, "")
    if not isinstance(value, str):
        raise JwtError(f"Jwt payload [{name}] field is not a string")
    return value


def _read_date(payload: dict[str, Any], name: str) -> int:
    value = payload.get(name, 0)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise JwtError(f"Jwt payload [{name}] field is not an integer")
    if not 0 <= value < _MAX_UINT64:
        raise JwtError(f"Jwt payload [{name}] field is not a positive 64 bit integer")
    return int(value)
