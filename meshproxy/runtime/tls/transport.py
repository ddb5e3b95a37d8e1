"""TLS over a plain transport: the protocol of the one below, the transport of the one above.

Theory: `ssl.SSLObject` between two memory BIOs. What the socket brings goes into `_incoming`; what OpenSSL wants sent
stands in `_outgoing` after every call and is passed on at once. The event loop's own TLS isn't used because it hides
what a proxy must decide: a peer is looked at *before* the last flight of the handshake leaves (so that an unwanted
server never sees our certificate, and an unwanted client of TLS 1.2 never sees a finished handshake), a peer's
`close_notify` is a half-close that the protocol above hears of, and a connection holds no buffer of its own.

A read on the common way is one record that came in one piece: one `read` of OpenSSL, one copy, no exception. Whether
more is there the BIO is asked rather than found out by `SSLWantReadError`; there is always room for a whole record, so
OpenSSL keeps none in part.

Invariants:
- the protocol above hears nothing before the handshake is complete and the peer is accepted, and nothing after
  `connection_lost`, which comes exactly once;
- while paused nothing is read from OpenSSL; at most one read of the socket waits in `_incoming`, and
  perhaps a FIN behind it;
- nothing is written below once `_closing` is set.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Protocol

from meshproxy.runtime.tls import openssl
from meshproxy.runtime.tls.failures import TlsFailure, describe, reset_by_peer

_INVALID_NAME = (
    "Failed to create upstream TLS due to failure setting SNI: "
    "error:100000d5:SSL routines:OPENSSL_internal:SSL3_EXT_INVALID_SERVERNAME"
)
_SIZE = 65536
_RECORD = 16384
"""Most plaintext in a record (RFC 8446 section 5.1)."""
# Shared by all connections: filled and emptied within one callback of the event loop.
_CIPHERTEXT = memoryview(bytearray(_SIZE))
_PLAINTEXT = memoryview(bytearray(_SIZE))


class HandshakeOwner(Protocol):
    """Whoever began a handshake and decides about its peer."""

    def accept_peer(self, transport: TlsTransport) -> None:
        """The handshake is complete, its last flight not sent yet. Raises TlsFailure to refuse the peer."""

    def failed(self, transport: TlsTransport, failure: TlsFailure | None) -> None:
        """No handshake: refused, broken, or (None) the peer just left. The socket is closed; nobody else is told."""

    def broken(self, transport: TlsTransport, failure: TlsFailure) -> None:
        """After the handshake the peer sent an alert or what can't be decrypted; `connection_lost` follows."""


def _wrap(
    context: ssl.SSLContext, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_side: bool, name: str | None
) -> ssl.SSLObject:
    """Raises TlsFailure for a server name that can't be asked for."""
    if name is None:
        return context.wrap_bio(incoming, outgoing, server_side=server_side)
    if openssl.library() is not None:
        tls = context.wrap_bio(incoming, outgoing)
        if openssl.set_server_name(tls, name):
            return tls
    else:
        try:
            return context.wrap_bio(incoming, outgoing, server_hostname=name)
        except (TypeError, ValueError):
            pass
    raise TlsFailure(_INVALID_NAME, "")


class TlsTransport(asyncio.BufferedProtocol):
    """See the module. app: the protocol above. began: when the handshake did (with a client's first bytes)."""

    __slots__ = (
        "_app",
        "_closing",
        "_decrypt",
        "_encrypt",
        "_ended",
        "_eof_wanted",
        "_eof_written",
        "_error",
        "_established",
        "_fin",
        "_incoming",
        "_loop",
        "_outgoing",
        "_owner",
        "_paused",
        "_raw",
        "began",
        "object",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: ssl.SSLContext,
        app: Any,
        owner: HandshakeOwner,
        *,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        self._loop = loop
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.object = _wrap(context, self._incoming, self._outgoing, server_side, server_hostname)
        inner = openssl.inside(self.object)
        self._decrypt, self._encrypt = inner.read, inner.write
        self._app = app
        self._owner: HandshakeOwner | None = owner
        self.began = 0.0
        self._error: TlsFailure | None = None
        self._raw: Any = None
        self._established = False
        self._paused = False
        self._closing = False
        self._ended = False
        self._eof_wanted = False
        self._eof_written = False
        self._fin = False

    # What the transport below calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = transport
        if self._closing:
            self._raw.abort()
            return
        if not self.object.server_side:
            self._handshake()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _CIPHERTEXT

    def buffer_updated(self, nbytes: int) -> None:
        if self._closing:
            return
        self._incoming.write(_CIPHERTEXT[:nbytes])
        if self._established:
            self._read()
        else:
            self._handshake()

    def eof_received(self) -> bool:
        """FIN. Without `close_notify` before it, it stands for that, behind what has come so far (as in Envoy)."""
        if not self._established:
            self._fail(None)
            return False
        if not (self._ended or self._closing):
            self._fin = True
            if not self._paused:
                self._read()
        return not self._closing

    def pause_writing(self) -> None:
        if self._established:
            self._app.pause_writing()

    def resume_writing(self) -> None:
        if self._established:
            self._app.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        if self._established:
            self._established = False
            if isinstance(error, ConnectionResetError) and self._owner is not None:
                self._owner.broken(self, reset_by_peer())
            self._app.connection_lost(self._error or error)
        else:
            self._fail(reset_by_peer() if isinstance(error, ConnectionResetError) else None)
        # They'd keep one another alive until the next collection, each with some 30 KiB that OpenSSL has allocated.
        self._app = self._owner = None
        self._decrypt = self._encrypt = None
        self.object = self._incoming = self._outgoing = None  # type: ignore[assignment]  # nothing is read or written now

    # The handshake.

    def _handshake(self) -> None:
        if not self.began:
            self.began = self._loop.time()
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLZeroReturnError:
            self._fail(None)
            return
        except ssl.SSLError as error:
            self._flush()  # the alert
            self._fail(describe(error, answers_hello=openssl.awaits_server_hello(self.object)))
            return
        assert self._owner is not None
        try:
            self._owner.accept_peer(self)
        except TlsFailure as failure:
            self._fail(failure)
            return
        self._established = True
        self._flush()
        self._app.connection_made(self)
        if self._incoming.pending or self.object.pending():
            self._read()

    def _fail(self, failure: TlsFailure | None) -> None:
        owner, self._owner = self._owner, None
        if not self._closing:
            self._closing = True
            if self._raw is not None:
                self._raw.close()
        if owner is not None:
            owner.failed(self, failure)

    def give_up(self) -> None:
        """End a handshake that takes too long, or that nobody wants any more."""
        if not self._established:
            self._fail(None)

    # Reading.

    def _read(self) -> None:
        """Hand over what has come, a socket's read at a time."""
        decrypt = self._decrypt
        incoming = self._incoming
        while not self._paused and not self._closing and not self._ended:
            filled = 0
            more = False
            try:
                while filled < _SIZE - _RECORD:
                    count = decrypt(_SIZE - filled, _PLAINTEXT[filled:] if filled else _PLAINTEXT)
                    if not count:
                        self._ended = True
                        break
                    filled += count
                    more = incoming.pending > 0
                    if not more:
                        break
            except ssl.SSLWantReadError:
                more = False
            except ssl.SSLZeroReturnError:  # what `read` makes of the peer's close_notify once ours is sent
                self._ended = True
            except ssl.SSLError as error:
                self._broken(error)
                return
            if filled:
                self._app.data_received(bytes(_PLAINTEXT[:filled]))
            if self._fin and not (more or self._paused):
                self._ended = True
            if self._ended:
                self._peer_ended()
                return
            if not more:
                if self._eof_wanted:
                    self.write_eof()
                break
        if self._outgoing.pending:
            self._flush()  # a key update wants its answer

    def _peer_ended(self) -> None:
        """`close_notify`: the peer sends nothing more, but may still read."""
        if self._closing:
            return
        if self._eof_wanted:
            self.write_eof()
        if not self._app.eof_received():
            self.close()

    def _broken(self, error: ssl.SSLError) -> None:
        """The peer sent what can't be decrypted, or an alert: the connection is over."""
        self._flush()
        self._closing = True
        self._error = describe(error)
        if self._owner is not None:
            self._owner.broken(self, self._error)
        self._raw.close()

    def _read_on(self) -> None:
        if self._established and not self._paused:
            self._read()

    # Writing, and the rest of what the protocol above calls.

    def _flush(self) -> None:
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self._eof_written or self._eof_wanted:
            return
        size = len(data)
        if size <= _SIZE:
            if not size:
                return
            done = self._encrypt(data)
            if done == size:
                self._raw.write(self._outgoing.read())
                return
            rest = memoryview(data)[done:]
        else:
            rest = memoryview(data)
        while rest:
            done = self._encrypt(rest[:_SIZE])
            rest = rest[done:]
            self._raw.write(self._outgoing.read())

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """`close_notify`; TCP stays open for what the peer still sends.

        OpenSSL looks for the peer's own notification as it writes ours, and stumbles over data: those are read first.
        """
        if self._closing or self._eof_written:
            return
        if not self._ended and (self._incoming.pending or self.object.pending()):
            self._eof_wanted = True
            return
        self._eof_written = True
        self._notify_close()

    def _notify_close(self) -> None:
        try:
            self.object.unwrap()
        except ssl.SSLError:
            pass  # wants the peer's own notification, or complains of data before it; ours is written all the same
        self._flush()

    def drop(self) -> None:
        """Close without a word to the peer."""
        self._closing = True
        if self._raw is not None:
            self._raw.abort()

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: Any) -> None:
        """Another protocol above, which hears everything from now on."""
        self._app = protocol

    def close(self) -> None:
        if self._closing:
            return
        if not self._eof_written:
            self._eof_written = True
            self._notify_close()
        self._closing = True
        self._raw.close()

    def abort(self) -> None:
        """Close without waiting for what is still unsent. The peer is told as long as that needs no waiting."""
        if self._closing:
            if self._raw is not None:
                self._raw.abort()
            return
        if self._raw.get_write_buffer_size():
            self._closing = True
            self._raw.abort()
        else:
            self.close()

    def pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            if not self._closing:
                self._raw.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if not self._closing:
                self._raw.resume_reading()
                if self._fin or self._incoming.pending or self.object.pending():
                    self._loop.call_soon(self._read_on)

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high=high, low=low)

    def get_write_buffer_size(self) -> int:
        size: int = self._raw.get_write_buffer_size()
        return size

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.object if name == "ssl_object" else self._raw.get_extra_info(name, default)
