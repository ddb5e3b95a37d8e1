"""Servers inside network namespaces that say what they see: threads of the test, with sockets made over there."""

from __future__ import annotations

import hashlib
import json
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from examples.demo.kernel import network_of


class Http(BaseHTTPRequestHandler):
    """Answers with who asked for what."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        answer = {
            "name": self.server.name,  # type: ignore[attr-defined]  # `Applications._start` gives it one
            "peer": self.client_address[0],
            "path": self.path,
            "host": self.headers["host"],
            "id": self.headers["x-request-id"],
            "digest": hashlib.sha256(body).hexdigest(),
        }
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Plain(socketserver.BaseRequestHandler):
    """A protocol in which the server speaks first: its peer's address, then an echo of whatever comes."""

    def handle(self) -> None:
        self.request.sendall(f"{self.client_address[0]}\n".encode())
        while data := self.request.recv(65536):
            self.request.sendall(data)


class HttpServer(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True


class PlainServer(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


class Applications:
    """The servers of one test, each on all addresses of its namespace, IPv4 and IPv6 on sockets of their own."""

    def __init__(self) -> None:
        self._servers: list[socketserver.BaseServer] = []

    def http(self, namespace: str, port: int, name: str) -> None:
        self._start(namespace, port, HttpServer, Http, name)

    def plain(self, namespace: str, port: int) -> None:
        self._start(namespace, port, PlainServer, Plain, "plain")

    def _start(self, namespace: str, port: int, kind: Any, handler: Any, name: str) -> None:
        for host, family in (("0.0.0.0", socket.AF_INET), ("::", socket.AF_INET6)):
            with network_of(f"/run/netns/{namespace}"):
                server = kind((host, port), handler, bind_and_activate=False)
                server.socket.close()
                server.socket = socket.create_server((host, port), family=family, backlog=64)
            server.name = name
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
