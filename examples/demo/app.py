"""The applications of the demo: plain HTTP servers that know nothing of any mesh.

`app.py IP PORT shop v1` answers every request with JSON: who answered, what came, and from which address.
`app.py IP PORT web SHOP_HOST SHOP_PORT` calls the shop whenever it is asked to: POST / with `{"path": ..., "headers":
{...}}`, and answers with what it saw of that call.
"""

from __future__ import annotations

import http.client
import json
import signal
import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """What both have in common: HTTP/1.1, an answer in JSON, no log."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode() + b"\n"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Shop(Handler):
    version = ""

    def do_GET(self) -> None:
        came_from = f"{self.client_address[0]}:{self.client_address[1]}"
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.answer({"shop": self.version, "path": self.path, "came_from": came_from, "headers": headers})


class Web(Handler):
    shop = ("", 0)

    def do_POST(self) -> None:
        wish = json.loads(self.rfile.read(int(self.headers["content-length"])))
        started = time.monotonic()
        connection = http.client.HTTPConnection(*self.shop, timeout=10)
        try:
            connection.connect()
            host, port = connection.sock.getpeername()
            connection.request("GET", wish["path"], headers={"host": "shop", **wish.get("headers", {})})
            response = connection.getresponse()
            seen = {
                "connected_to": f"{host}:{port}",
                "status": response.status,
                "headers": dict(response.getheaders()),
                "body": response.read().decode(),
                "milliseconds": round((time.monotonic() - started) * 1000, 1),
            }
        except OSError as error:
            seen = {"error": str(error)}
        finally:
            connection.close()
        self.answer(seen)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        """Without asking for the host's name, as HTTPServer does: a pod of the demo has no resolver to ask."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "app", self.server_address[1]


def main() -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # a terminal sends it to all that the demo started: no traceback for that
    ip, port, kind, *rest = sys.argv[1:]
    handler: type[Handler] = Shop if kind == "shop" else Web
    if kind == "shop":
        (Shop.version,) = rest
    else:
        Web.shop = (rest[0], int(rest[1]))
    Server((ip, int(port)), handler).serve_forever()


if __name__ == "__main__":
    main()
