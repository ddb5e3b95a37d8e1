"""`--run-validation`: proof by real connections that both directions are captured.

We listen where the proxy would, a child process takes the right uid and connects, and the kernel tells us where the
connection was meant to go (SO_ORIGINAL_DST). A connection counts if it arrives at the right port with the right
original destination.

Which uid may be taken depends on the container. As root with CAP_SETUID and CAP_SETGID both directions are proven.
As the proxy's own uid, in a container of its own as Istio runs it, inbound is proven, and outbound is said to be
open: that uid is exempt from it. If inbound can't be proven, validation fails.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import time

from .errors import ValidationError
from .log import Say
from .options import Options
from .probes import Probe

SO_ORIGINAL_DST = 80
_NOT_PERMITTED = "not permitted"
_RETRY = 0.2


def run(options: Options, probes: list[Probe], notes: list[str], timeout: float, say: Say) -> None:
    """Tries every probe for up to `timeout` seconds. Raises ValidationError with all that went wrong."""
    for note in notes:
        say(f"validation: {note}")
    listeners = _listen(options)
    try:
        failures = [failure for probe in probes if (failure := _try(probe, listeners, timeout, say))]
    finally:
        for listener in listeners:
            listener.close()
    failures += [note for note in notes if note.startswith("inbound")]
    if failures:
        raise ValidationError("validation failed: " + "; ".join(failures))
    say("validation passed")


def original_destination(connection: socket.socket) -> tuple[str, int]:
    """Where the peer wanted to go: SO_ORIGINAL_DST (`linux/netfilter_ipv4.h`), else the socket's own address."""
    try:
        if connection.family == socket.AF_INET6:
            raw = connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
            return socket.inet_ntop(socket.AF_INET6, raw[8:24]), struct.unpack("!H", raw[2:4])[0]
        raw = connection.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16)
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), struct.unpack("!H", raw[2:4])[0]
    except OSError:
        address = connection.getsockname()
        return address[0], address[1]


def _listen(options: Options) -> list[socket.socket]:
    """The ports of the proxy, where redirected connections of local processes arrive: on the loopback addresses."""
    listeners: list[socket.socket] = []
    hosts = ["127.0.0.1", "::1"] if options.ipv6 else ["127.0.0.1"]
    for host in hosts:
        for port in (options.proxy_port, options.inbound_capture_port):
            listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                listener.bind((host, port))
                listener.listen(16)
            except OSError as error:
                for opened in listeners:
                    opened.close()
                why = (
                    "the proxy is running already: validate before it starts" if error.errno == errno.EADDRINUSE else ""
                )
                raise ValidationError(f"validation: can't listen on {host}:{port} ({error.strerror}) {why}") from None
    return listeners


def _try(probe: Probe, listeners: list[socket.socket], timeout: float, say: Say) -> str:
    """Why the probe failed; "" if it passed, or if outbound can't be proven from here."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            _connect_for_ever(probe, writer)
        finally:
            # Whatever happens: the child must not go on with the parent's work.
            os._exit(1)
    os.close(writer)
    try:
        arrived, last = _wait(probe, listeners, reader, time.monotonic() + timeout)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
    if arrived == "":
        say(f"validation: {probe} arrives at port {probe.expected}")
        return ""
    if last == _NOT_PERMITTED and probe.direction == "outbound":
        say(f"validation: {probe}: not tried, uid {os.geteuid()} may not take uid {probe.uid}; outbound is not proven")
        return ""
    return _failure(probe, arrived, last)


def _failure(probe: Probe, arrived: str, last: str) -> str:
    if arrived != "nothing":
        return f"{probe}: {arrived}, expected port {probe.expected}"
    if last == _NOT_PERMITTED:
        return f"{probe}: uid {os.geteuid()} may not take that uid: run as it, or with CAP_SETUID and CAP_SETGID"
    why = {
        "ECONNREFUSED": "refused: it was not redirected, so rules are missing or the uid is not the proxy's",
        "ENETUNREACH": "no route: the pod has no default route",
        "EHOSTUNREACH": "no route: the pod has no default route",
        "": "no answer: it was not redirected, so rules are missing",
        "ETIMEDOUT": "no answer: it was not redirected, so rules are missing",
    }
    return f"{probe}: {why.get(last, last)}"


def _wait(probe: Probe, listeners: list[socket.socket], reader: int, deadline: float) -> tuple[str, str]:
    """("", …) as soon as the probe arrived; else what arrived last, and the child's last error."""
    arrived, last = "nothing", ""
    sources: list[socket.socket | int] = [*listeners, reader]
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select(sources, [], [], left)
        for source in ready:
            if isinstance(source, int):
                last = os.read(source, 4096).decode().strip().rpartition("\n")[2]
                if last == _NOT_PERMITTED:
                    return arrived, last
                continue
            connection, _ = source.accept()
            with connection:
                destination, port = original_destination(connection), connection.getsockname()[1]
            if destination != (probe.address, probe.port):
                continue
            if port == probe.expected:
                return "", last
            arrived = f"arrived at port {port}"
    return arrived, last


def _connect_for_ever(probe: Probe, writer: int) -> None:
    """The child: becomes the uid and connects again and again; reports each error by name. Returns if it may not."""
    try:
        _become(probe.uid, probe.gid)
    except PermissionError:
        os.write(writer, f"{_NOT_PERMITTED}\n".encode())
        return
    family = socket.AF_INET6 if probe.family == 6 else socket.AF_INET
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(1.0)
            try:
                if probe.source:
                    client.bind((probe.source, 0))
                client.connect((probe.address, probe.port))
            except TimeoutError:
                os.write(writer, b"ETIMEDOUT\n")
            except OSError as error:
                os.write(writer, f"{errno.errorcode.get(error.errno or 0, str(error))}\n".encode())
        time.sleep(_RETRY)


def _become(uid: int, gid: int) -> None:
    """Takes an identity. Raises PermissionError if this process may not.

    The saved uid stays the parent's: without CAP_KILL, that is what lets the parent end the child.
    """
    if (os.geteuid(), os.getegid()) == (uid, gid):
        return
    if os.geteuid() == 0:
        os.setgroups([])
    if os.getegid() != gid:
        os.setresgid(gid, gid, gid)
    if os.geteuid() != uid:
        os.setresuid(uid, uid, os.getuid())
