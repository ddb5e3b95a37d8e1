"""A small authoritative name server on loopback, UDP and TCP, for tests.

It says what its table says: `records[name, type]` is a list of `(ttl, value)`, a value being an address or, for CNAME,
a name. A name without records doesn't exist. It is written apart from the client that it tests, so that the two don't
share a misunderstanding.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

A, CNAME, SOA, AAAA, OPT = 1, 5, 6, 28, 41
_TYPES = {A: "A", CNAME: "CNAME", AAAA: "AAAA"}


@dataclass
class Zone:
    """What the server answers. Names in lower case, without the final dot.

    truncated: names whose answers over UDP are cut. silent: no answer. refused: SERVFAIL. delayed: seconds to wait.
    forged: a wrong answer with another id comes before the right one. asked: every question, in order.
    """

    records: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)
    truncated: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    forged: set[str] = field(default_factory=set)
    delayed: dict[str, float] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)


def _encode_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


class DnsServer:
    """Serves from threads, so that a test may block."""

    def __init__(self, zone: Zone | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.zone = zone or Zone()
        while True:
            self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._udp.bind((host, port))
            self.port: int = self._udp.getsockname()[1]
            self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self._tcp.bind((host, self.port))
                break
            except OSError:
                self._udp.close()
                self._tcp.close()
        self._tcp.listen(16)
        self._stopped = False
        self._threads = [threading.Thread(target=serve, daemon=True) for serve in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def _serve_udp(self) -> None:
        while not self._stopped:
            message, peer = self._udp.recvfrom(2048)
            if self._stopped:
                return
            threading.Thread(target=self._answer_udp, args=(message, peer), daemon=True).start()

    def _answer_udp(self, message: bytes, peer: tuple[str, int]) -> None:
        for answer in self._answer(message, "udp"):
            self._udp.sendto(answer, peer)

    def _serve_tcp(self) -> None:
        while not self._stopped:
            try:
                connection, _ = self._tcp.accept()
            except OSError:  # shut down
                return
            threading.Thread(target=self._serve_connection, args=(connection,), daemon=True).start()

    def _serve_connection(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(5)
            try:
                while head := connection.recv(2, socket.MSG_WAITALL):
                    message = connection.recv(struct.unpack("!H", head)[0], socket.MSG_WAITALL)
                    for answer in self._answer(message, "tcp"):
                        whole = struct.pack("!H", len(answer)) + answer
                        connection.sendall(whole[:5])  # in two pieces, as a network may
                        time.sleep(0.005)
                        connection.sendall(whole[5:])
            except OSError:
                pass

    def _answer(self, message: bytes, transport: str) -> list[bytes]:
        identity, flags = struct.unpack_from("!HH", message)
        offset, labels = 12, []
        while length := message[offset]:
            labels.append(message[offset + 1 : offset + 1 + length].decode())
            offset += length + 1
        kind = struct.unpack_from("!H", message, offset + 1)[0]
        question = message[12 : offset + 5]
        name = ".".join(labels).lower()
        zone = self.zone
        zone.asked.append((name, _TYPES.get(kind, str(kind)), transport))
        time.sleep(zone.delayed.get(name, 0))
        if name in zone.silent:
            return []
        flags = 0x8400 | (flags & 0x0100)
        if name in zone.refused:
            return [struct.pack("!HHHHHH", identity, flags | 2, 1, 0, 0, 0) + question]
        if name in zone.truncated and transport == "udp":
            return [struct.pack("!HHHHHH", identity, flags | 0x0200, 1, 0, 0, 0) + question]
        answers, final = [], name
        while cname := zone.records.get((final, "CNAME")):
            answers.append(_encode_name(final) + self._record(CNAME, cname[0][0], _encode_name(cname[0][1])))
            final = cname[0][1]
        for ttl, value in zone.records.get((final, _TYPES.get(kind, "")), []):
            data = socket.inet_pton(socket.AF_INET if kind == A else socket.AF_INET6, value)
            answers.append(_encode_name(final) + self._record(kind, ttl, data))
        exists = any(known == final for known, _ in zone.records)
        code = 0 if exists or answers else 3
        head = struct.pack("!HHHHHH", identity, flags | code, 1, len(answers), 0, 0)
        whole = head + question + b"".join(answers)
        if name in zone.forged:
            wrong = struct.pack("!HHHHHH", identity ^ 1, flags, 1, 1, 0, 0) + question
            wrong += _encode_name(name) + self._record(A, 60, socket.inet_aton("127.0.0.99"))
            return [wrong, whole]
        return [whole]

    @staticmethod
    def _record(kind: int, ttl: int, data: bytes) -> bytes:
        return struct.pack("!HHIH", kind, 1, ttl, len(data)) + data

    def close(self) -> None:
        self._stopped = True
        for listening in (self._udp, self._tcp):
            with contextlib.suppress(OSError):  # the kernel finds UDP not connected, and wakes its reader all the same
                listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(2)
        self._udp.close()
        self._tcp.close()
