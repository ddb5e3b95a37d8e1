"""Peers of the interception tests. Runs alone, under /usr/bin/python3, with the uid that a test wants.

    agent.py serve TAG [--transparent] PORT… [--dns PORT]      answers every connection with what it sees
    agent.py client                                            one JSON request a line, one JSON answer a line

A server's answer tells who answered (`tag`), on which listener (`listener`), with which local and remote address, and
where the connection was meant to go (`orig`), so that one connection proves all of it.
"""

import json
import selectors
import socket
import struct
import sys
from typing import Any

TIMEOUT = 2.0

Address = tuple[Any, ...]
"""Host and port; for IPv6 two numbers more."""


def original(connection: socket.socket, peer: Address) -> list[object] | None:
    """SO_ORIGINAL_DST, at the level of the client's address family; None if connection tracking knows nothing."""
    try:
        if peer[0].startswith("::ffff:") or ":" not in peer[0]:
            raw = connection.getsockopt(socket.IPPROTO_IP, 80, 16)
            return [socket.inet_ntop(socket.AF_INET, raw[4:8]), struct.unpack("!H", raw[2:4])[0]]
        raw = connection.getsockopt(socket.IPPROTO_IPV6, 80, 28)
        return [socket.inet_ntop(socket.AF_INET6, raw[8:24]), struct.unpack("!H", raw[2:4])[0]]
    except OSError:
        return None


def plain(address: Address) -> list[object]:
    """Host and port, IPv4 without the mapped form."""
    return [address[0].removeprefix("::ffff:"), address[1]]


def listen(port: int, transparent: bool) -> socket.socket:
    """One dual-stack listener, as Envoy has with ipv4_compat."""
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if transparent:
        listener.setsockopt(socket.IPPROTO_IP, 19, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, 75, 1)
    listener.bind(("::", port))
    listener.listen(64)
    return listener


def serve(tag: str, ports: list[int], transparent: bool, dns: list[int]) -> None:
    selector = selectors.DefaultSelector()
    for port in ports:
        selector.register(listen(port, transparent), selectors.EVENT_READ, ("tcp", port))
    for port in dns:
        # As the agent does: a wildcard socket would answer from the pod's address, and the client would drop it.
        for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
            bind_dns(selector, family, host, port)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            kind, port = key.data
            ready: Any = key.fileobj
            if kind == "udp":
                data, peer = ready.recvfrom(2048)
                answer = {"tag": tag, "listener": port, "peer": plain(peer), "query": data.decode()}
                ready.sendto(json.dumps(answer).encode(), peer)
                continue
            connection, peer = ready.accept()
            with connection:
                answer = {
                    "tag": tag,
                    "listener": port,
                    "local": plain(connection.getsockname()),
                    "peer": plain(peer),
                    "orig": original(connection, peer),
                }
                connection.sendall(json.dumps(answer).encode())


def bind_dns(selector: selectors.BaseSelector, family: socket.AddressFamily, host: str, port: int) -> None:
    """TCP and UDP; on every address for port 53 and 5353 of the peer, on loopback for the agent's."""
    host = host if port > 10000 else ("::" if family == socket.AF_INET6 else "0.0.0.0")
    for kind, name in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
        bound = socket.socket(family, kind)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        if name == "tcp":
            bound.listen(16)
        selector.register(bound, selectors.EVENT_READ, (name, port))


def connect(request: dict[str, Any]) -> dict[str, Any]:
    family = socket.AF_INET6 if ":" in request["host"] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT)
        if request.get("bind"):
            client.bind((request["bind"], 0))
        client.connect((request["host"], request["port"]))
        data = b""
        while chunk := client.recv(4096):
            data += chunk
        return {**json.loads(data), "peername": plain(client.getpeername()), "sockname": plain(client.getsockname())}


def query(request: dict[str, Any]) -> dict[str, Any]:
    family = socket.AF_INET6 if ":" in request["host"] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT)
        client.sendto(b"who", (request["host"], request["port"]))
        data, source = client.recvfrom(4096)
        return {**json.loads(data), "source": plain(source)}


def client() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = connect(request) if request["proto"] == "tcp" else query(request)
        except OSError as error:
            answer = {"error": type(error).__name__, "errno": error.errno}
        except ValueError:
            answer = {"error": "NoAnswer"}
        print(json.dumps(answer), flush=True)


def main(argv: list[str]) -> None:
    if argv[0] == "client":
        client()
        return
    dns = [int(text) for text in argv[argv.index("--dns") + 1 :]] if "--dns" in argv else []
    rest = argv[2 : argv.index("--dns")] if "--dns" in argv else argv[2:]
    serve(argv[1], [int(text) for text in rest if text.isdigit()], "--transparent" in argv, dns)


main(sys.argv[1:])
