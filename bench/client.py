"""A client for what wrk can't do: to await the first answer of a program, and to hold connections that do nothing."""

from __future__ import annotations

import resource
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

REQUEST = (
    b"GET /cart/items/1 HTTP/1.1\r\nhost: shop.default.svc.cluster.local\r\nuser-agent: frontend/1\r\n"
    b"accept: application/json\r\n\r\n"
)


class BenchError(Exception):
    """The measurement can't be made; the message says why, for whoever started it."""


def free_ports(count: int) -> list[int]:
    """Ports of loopback nobody listens on now. All are held until the last is found, so they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def ask(connection: socket.socket) -> bytes:
    """Send one request and read its whole answer, which has a Content-Length or is chunked."""
    connection.sendall(REQUEST)
    answer = b""
    while True:
        data = connection.recv(65536)
        if not data:
            raise BenchError(f"connection closed after {answer!r}")
        answer += data
        head, found, body = answer.partition(b"\r\n\r\n")
        if not found:
            continue
        if not head.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"unexpected answer {head!r}")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0].strip()
        if len(body) >= int(length) if length else body.endswith(b"0\r\n\r\n"):
            return answer


def wait_for_answer(
    port: int, process: subprocess.Popen[bytes], output: Path, timeout_s: float, tls: ssl.SSLContext | None = None
) -> None:
    """Return with the first answer from `port`. Raises BenchError if the process ends first, or at the time-out."""
    deadline = time.monotonic() + timeout_s
    while True:
        if process.poll() is not None:
            said = output.read_text(errors="replace")[-2000:]
            command = " ".join(map(str, process.args)) if isinstance(process.args, list | tuple) else process.args
            raise BenchError(f"{command!s} ended with {process.returncode}:\n{said}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
                if tls is None:
                    ask(connection)
                else:
                    with tls.wrap_socket(connection) as secured:
                        ask(secured)
                return
        except OSError as error:
            if time.monotonic() > deadline:
                said = output.read_text(errors="replace")[-2000:]
                raise BenchError(f"no answer on port {port} after {timeout_s:.0f} s ({error}):\n{said}") from error
        time.sleep(0.0005)


@contextmanager
def idle_connections(port: int, count: int) -> Iterator[None]:
    """Hold `count` connections, each of which has made one request, one after the other."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5.0))
            ask(connection)
        yield
