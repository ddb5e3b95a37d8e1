"""The secrets of handshakes in a file, so that somebody who debugs can read what was captured (NSS key log format).

OpenSSL calls back for each line, with the handshake that it is of. Which handshakes are written is settled by their
addresses when they begin.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import ssl
from typing import Any

from meshproxy.address import CidrSet
from meshproxy.model.tls import KeyLog
from meshproxy.runtime.tls import openssl
from meshproxy.runtime.tls.failures import MaterialError

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)


class KeyLogFile:
    """Raises MaterialError if the file can't be written."""

    def __init__(self, config: KeyLog) -> None:
        self._config = config
        self._written: set[int] = set()
        try:
            install = openssl.function("SSL_CTX_set_keylog_callback", None, ctypes.c_void_p, _CALLBACK)
        except AttributeError:
            raise MaterialError("this Python's ssl can't log keys") from None
        self._install = install
        try:
            os.close(self._open())
        except OSError as error:
            raise MaterialError(f"unable to open file '{config.path}': {error.strerror}") from None

    def _open(self) -> int:
        return os.open(self._config.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def give_to(self, context: ssl.SSLContext) -> None:
        """Have a context tell of its handshakes."""
        callback = _CALLBACK(self._write)
        openssl.keep(context, "key_log", callback)
        self._install(openssl.context_pointer(context), callback)

    def begin(self, tls: ssl.SSLObject, sock: Any) -> None:
        """Write the secrets of this handshake, if it is between the addresses that are wanted."""
        config = self._config
        try:
            if _contains(config.local, sock.getsockname) and _contains(config.remote, sock.getpeername):
                self._written.add(openssl.object_pointer(tls) or 0)
        except OSError:
            pass  # the peer has left

    def end(self, tls: ssl.SSLObject) -> None:
        """The handshake is over."""
        self._written.discard(openssl.object_pointer(tls) or 0)

    def _write(self, tls: int, line: bytes) -> None:
        if tls in self._written:
            try:
                descriptor = self._open()
            except OSError:
                return
            try:
                os.write(descriptor, line + b"\n")
            finally:
                os.close(descriptor)


def _contains(ranges: CidrSet | None, address_of: Any) -> bool:
    if ranges is None:
        return True
    address = address_of()
    if not isinstance(address, tuple):
        return False
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    return str(getattr(ip, "ipv4_mapped", None) or ip) in ranges
