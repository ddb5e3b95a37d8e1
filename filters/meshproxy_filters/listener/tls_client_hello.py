"""What the first message of TLS says before it is answered: server name, ALPN, versions (RFC 8446 section 4.1.2).

The bytes are only peeked at, and arrive in pieces of any size, cut anywhere: one ClientHello may span many records and
one record many segments. So the reader is given all bytes from the beginning each time and goes on where it stopped:
whatever the pieces, each record header is read once, and work is bounded by the bytes that it will look at.

Bytes that are not a ClientHello are a verdict, never an exception: plain text on a port that also takes TLS is normal.
Where BoringSSL, which Envoy's inspector uses, refuses a message, so does this: the connection is then not TLS.
"""

from __future__ import annotations

from enum import Enum

from meshproxy.records import dataclass

MAX_CLIENT_HELLO = 16 * 1024
"""Bytes that are looked at at most, record headers included; as in Envoy."""

_LONGEST_MESSAGE = 16 * 1024  # without its header: BoringSSL's limit

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_TLS_10 = 0x0301
_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS = 0, 16, 43
_HOST_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")


class TlsVerdict(Enum):
    """NEED_MORE: it can still become a ClientHello. NOT_TLS: it can't. TOO_LARGE: it would, beyond the limit. TOO_LONG:
    it says that it's longer than any handshake takes. TOO_OLD: all the versions that it knows are."""

    NEED_MORE = "need more"
    NOT_TLS = "not TLS"
    TOO_LARGE = "client hello too large"
    TOO_LONG = "client hello too long"
    TOO_OLD = "client too old"


@dataclass(frozen=True, slots=True)
class ClientHello:
    """server_name: in lower case; "" without one, and for one with bytes that no host name has, so that it neither
    matches a chain nor reaches a log. application_protocols: the ALPN names, Latin-1, in the client's order.
    versions: as numbers, 0x0304 for TLS 1.3."""

    server_name: str = ""
    application_protocols: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()


class MalformedHello(Exception):
    """The message isn't what it says it is. Stays inside of the two modules that read it."""


class ClientHelloReader:
    """Reads one connection's first bytes, peek by peek, and at most `limit` of them."""

    __slots__ = ("_limit", "_message", "_position", "_verdict")

    def __init__(self, limit: int = MAX_CLIENT_HELLO) -> None:
        self._limit = limit
        self._message = bytearray()  # handshake bytes of the records read so far
        self._position = 0  # where the next record begins
        self._verdict: ClientHello | TlsVerdict = TlsVerdict.NEED_MORE

    def read(self, data: bytes) -> ClientHello | TlsVerdict:
        """data: all bytes of the connection so far, from its first. The verdict stays once it isn't NEED_MORE."""
        if self._verdict is TlsVerdict.NEED_MORE:
            try:
                self._verdict = self._read_records(data)
            except MalformedHello:
                self._verdict = TlsVerdict.NOT_TLS
        return self._verdict

    @property
    def body(self) -> bytes:
        """The message without its header, as soon as the verdict is that it is one."""
        return bytes(self._message[4:])

    def _read_records(self, data: bytes) -> ClientHello | TlsVerdict:
        limit = self._limit
        data = data[:limit]
        message = self._message
        while True:
            start = self._position
            if start + 5 > limit:
                return TlsVerdict.TOO_LARGE
            _check_record_header(data[start : start + 5])
            if len(data) < start + 5:
                return TlsVerdict.NEED_MORE
            end = start + 5 + int.from_bytes(data[start + 3 : start + 5], "big")
            length = _message_length(message[:4] + data[start + 5 : min(end, start + 9)])
            if end > limit:
                return TlsVerdict.TOO_LARGE
            if length > 4 + _LONGEST_MESSAGE:
                return TlsVerdict.TOO_LONG
            if length > limit:
                return TlsVerdict.TOO_LARGE
            if len(data) < end:
                return TlsVerdict.NEED_MORE
            message += data[start + 5 : end]
            self._position = end
            if 0 <= length < len(message):
                raise MalformedHello  # a record doesn't hold the end of one flight and the beginning of another
            if length == len(message):
                hello = _parse_client_hello(self.body)
                return hello if max(hello.versions) >= _TLS_10 else TlsVerdict.TOO_OLD


def read_client_hello(data: bytes) -> ClientHello | TlsVerdict:
    """The verdict on the first bytes of a connection, looked at once."""
    return ClientHelloReader().read(data)


def _check_record_header(header: bytes) -> None:
    """Refuse as soon as a byte can't be in the header of a handshake record (RFC 8446 section 5.1).

    A record may be empty: the standard forbids it, but BoringSSL doesn't mind.
    """
    if header[:1] not in (b"", b"\x16") or header[1:2] not in (b"", b"\x03"):
        raise MalformedHello
    if len(header) == 5 and int.from_bytes(header[3:5], "big") > 1 << 14:
        raise MalformedHello


def _message_length(message: bytes | bytearray) -> int:
    """Length of the handshake message with its header; -1 while its header is incomplete."""
    if message and message[0] != _CLIENT_HELLO:
        raise MalformedHello
    return 4 + int.from_bytes(message[1:4], "big") if len(message) >= 4 else -1


class Fields:
    """Takes length-prefixed fields off a message; raises MalformedHello where it ends too early."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> bytes:
        start, self._position = self._position, self._position + count
        if self._position > len(self._data):
            raise MalformedHello
        return self._data[start : self._position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))

    @property
    def left(self) -> bool:
        return self._position < len(self._data)


def _parse_client_hello(body: bytes) -> ClientHello:
    fields = Fields(body)
    legacy_version = fields.number(2)
    fields.take(32)
    session_id, ciphers, compression = fields.vector(1), fields.vector(2), fields.vector(1)
    if len(session_id) > 32 or len(ciphers) < 2 or len(ciphers) % 2 or not compression:
        raise MalformedHello
    extensions = _parse_extensions(fields.vector(2)) if fields.left else {}
    if fields.left:
        raise MalformedHello
    versions = _parse_versions(extensions[_SUPPORTED_VERSIONS]) if _SUPPORTED_VERSIONS in extensions else ()
    return ClientHello(
        _parse_server_name(extensions[_SERVER_NAME]) if _SERVER_NAME in extensions else "",
        _parse_alpn(extensions[_ALPN]) if _ALPN in extensions else (),
        versions or (legacy_version,),
    )


def _parse_extensions(data: bytes) -> dict[int, bytes]:
    fields, extensions = Fields(data), {}
    while fields.left:
        kind, value = fields.number(2), fields.vector(2)
        if kind in extensions:
            raise MalformedHello
        extensions[kind] = value
    return extensions


def _parse_server_name(data: bytes) -> str:
    """RFC 6066 section 3, with exactly one host_name, as BoringSSL takes it."""
    fields = Fields(data)
    names = Fields(fields.vector(2))
    kind, name = names.number(1), names.vector(2)
    if fields.left or names.left or kind != 0 or not 0 < len(name) <= 255 or b"\0" in name:
        raise MalformedHello
    return name.decode("ascii").lower() if _HOST_BYTES.issuperset(name) else ""


def _parse_alpn(data: bytes) -> tuple[str, ...]:
    """RFC 7301 section 3.1. A malformed list is as none: Envoy leaves the complaint to the real handshake."""
    try:
        fields = Fields(data)
        names, protocols = Fields(fields.vector(2)), []
        while names.left:
            protocols.append(names.vector(1).decode("latin-1"))
        return () if fields.left or "" in protocols else tuple(protocols)
    except MalformedHello:
        return ()


def _parse_versions(data: bytes) -> tuple[int, ...]:
    """RFC 8446 section 4.2.1. As with ALPN, a malformed list is the handshake's business."""
    try:
        fields = Fields(data)
        versions, found = Fields(fields.vector(1)), []
        while versions.left:
            found.append(versions.number(2))
        return () if fields.left else tuple(found)
    except MalformedHello:
        return ()
