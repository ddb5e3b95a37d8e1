"""Fingerprints of TLS clients: JA3 and JA4, of what a ClientHello offers and in which order.

Both tell programs apart, not people: they hash lists that a TLS library sends much the same each time. Values that
clients make up (GREASE, RFC 8701) are left out. JA3 is MD5 of decimals; JA4 reads as `t13d1516h2_<hash>_<hash>`:
version, whether there is a server name, how many suites and extensions, ALPN, and hashes of both sorted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from meshproxy.records import dataclass
from meshproxy_filters.listener.tls_client_hello import Fields, MalformedHello

_SERVER_NAME, _GROUPS, _POINT_FORMATS, _SIGNATURES, _ALPN, _VERSIONS = 0, 10, 11, 13, 16, 43
_VERSION_NAMES = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}


@dataclass(frozen=True, slots=True)
class Offer:
    """What the fingerprints are of, in the client's order. alpn: the first protocol.

    GREASE is left out of suites, extensions and versions; groups and signatures are as Envoy takes them, with it.
    versions: (0,) for an extension that isn't sound.
    """

    version: int
    suites: tuple[int, ...]
    extensions: tuple[int, ...]
    groups: tuple[int, ...]
    point_formats: tuple[int, ...]
    signatures: tuple[int, ...]
    versions: tuple[int, ...]
    alpn: bytes


def read_offer(body: bytes) -> Offer:
    """body: a ClientHello that has been read already, without its header."""
    fields = Fields(body)
    version = fields.number(2)
    fields.take(32)
    fields.vector(1)
    suites = _numbers(fields.vector(2))
    fields.vector(1)
    extensions: dict[int, bytes] = {}
    if fields.left:
        given = Fields(fields.vector(2))
        while given.left:
            kind, value = given.number(2), given.vector(2)
            extensions[kind] = value
    return Offer(
        version,
        suites,
        tuple(kind for kind in extensions if not _is_made_up(kind)),
        _every_number(extensions.get(_GROUPS, b"")[2:]),  # Envoy doesn't mind the length before them
        tuple(_vector(extensions.get(_POINT_FORMATS), 1)),
        _every_number(_vector(extensions.get(_SIGNATURES), 2)),
        _numbers(_vector(extensions.get(_VERSIONS), 1)) or (0,) * (_VERSIONS in extensions),
        _vector(_vector(extensions.get(_ALPN), 2) or None, 1),
    )


def ja3(offer: Offer) -> str:
    """MD5 in hex."""
    lists = (offer.suites, offer.extensions, offer.groups, offer.point_formats)
    text = ",".join((str(offer.version), *("-".join(map(str, numbers)) for numbers in lists)))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def ja4(offer: Offer) -> str:
    """Its readable part and two hashes."""
    version = _VERSION_NAMES.get(max(offer.versions, default=offer.version), "00")
    named = "d" if _SERVER_NAME in offer.extensions else "i"
    counts = f"{min(len(offer.suites), 99):02}{min(len(offer.extensions), 99):02}"
    others = sorted(kind for kind in offer.extensions if kind not in (_SERVER_NAME, _ALPN))
    text = _hex(others)
    if offer.signatures:
        text += f"_{_hex(offer.signatures)}"
    return f"t{version}{named}{counts}{_ends(offer.alpn)}_{_half(_hex(sorted(offer.suites)))}_{_half(text)}"


def _ends(alpn: bytes) -> str:
    """The first and the last character of the first protocol, or of its hex digits where one isn't alphanumeric."""
    if not alpn:
        return "00"
    text = alpn.decode("latin-1") if (alpn[:1] + alpn[-1:]).isalnum() else alpn.hex()
    return text[0] + text[-1]


def _hex(numbers: Iterable[int]) -> str:
    return ",".join(f"{number:04x}" for number in numbers)


def _half(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "0" * 12


def _is_made_up(number: int) -> bool:
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF


def _vector(extension: bytes | None, size: int) -> bytes:
    """What stands behind a length of `size` bytes; b"" where there is none, or nothing sound."""
    try:
        return Fields(extension).vector(size) if extension is not None else b""
    except MalformedHello:
        return b""


def _every_number(data: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data) - 1, 2))


def _numbers(data: bytes) -> tuple[int, ...]:
    return tuple(number for number in _every_number(data) if not _is_made_up(number))
