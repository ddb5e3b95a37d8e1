"""A socket that passes connections on: the demo's door into a pod, and its stand-in for the kernel's redirect."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

Address = tuple[str, int]
Connect = Callable[[Address, Address], socket.socket]
"""From who connected and what it connected to, the socket to pass the bytes to. Raises OSError."""


class Relay:
    """Accepts on an address until the program ends, and pumps each connection both ways."""

    def __init__(self, address: Address, connect: Connect) -> None:
        self._connect = connect
        self._socket = socket.create_server(address, backlog=128)
        self.address: Address = self._socket.getsockname()[:2]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, peer = self._socket.accept()
            threading.Thread(target=self._serve, args=(client, peer[:2]), daemon=True).start()

    def _serve(self, client: socket.socket, peer: Address) -> None:
        with client:
            try:
                server = self._connect(peer, self.address)
            except OSError:
                return
            with server:
                back = threading.Thread(target=pump, args=(server, client), daemon=True)
                back.start()
                pump(client, server)
                back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Bytes from one to the other until the end, and then the end too."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def redirect_to(sidecar: Address) -> Connect:
    """What REDIRECT does, without the kernel: the sidecar learns the address asked for from a PROXY protocol line."""

    def connect(peer: Address, asked: Address) -> socket.socket:
        server = socket.create_connection(sidecar, timeout=10)
        server.settimeout(None)
        server.sendall(f"PROXY TCP4 {peer[0]} {asked[0]} {peer[1]} {asked[1]}\r\n".encode())
        return server

    return connect
