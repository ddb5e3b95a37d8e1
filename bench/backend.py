"""What stands behind the proxies: nginx with a configuration of its own, answering 33 bytes on three ports, and on a
fourth in HTTP/2; `/large` is a mebibyte. On a fifth port is `body_server`, on a sixth nginx answers one in ten requests
with 503, on a seventh it has a thousand addresses, on an eighth TLS, and on a ninth it answers every other request with
503. Five more ports are those of `stream_server`.

Without nginx a small server on uvloop does the same. It is slower, which lowers requests per second for both proxies
alike and leaves the CPU time per request of the proxies as it is; HTTP/2 and large answers it doesn't have.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import process
from bench.client import free_ports, wait_for_answer
from bench.dress import Certificates

BODY = '{"status":"ok","items":[1,2,3,4]}'
assert len(BODY) == 33
LARGE = 1024 * 1024
MEDIUM = 64 * 1024
STREAM_PORTS = 5

NGINX = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 0; large_client_header_buffers 16 128k; client_body_buffer_size 1m;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  server {{
    {listens}
    default_type application/json;
    location / {{ return 200 '{body}'; }}
    location /grpc.Shop/ {{ default_type application/grpc; add_trailer grpc-status 0 always; return 200 '{message}'; }}
    location /envoy.service.auth. {{
      default_type application/grpc; add_trailer grpc-status 0 always; return 200 '{allowed}'; }}
    location /envoy.service.ratelimit. {{
      default_type application/grpc; add_trailer grpc-status 0 always; return 200 '{below}'; }}
    location /large {{ root {directory}; }}
    location /medium {{ root {directory}; }}
    location /small {{ root {directory}; error_page 405 =200 $uri; }}
  }}
  split_clients $request_id $fails {{ 10% 1; * 0; }}
  server {{
    listen 127.0.0.1:{flaky} backlog=4096;
    default_type application/json;
    location / {{ if ($fails) {{ return 503; }} return 200 '{body}'; }}
  }}
  split_clients $request_id $half {{ 50% 1; * 0; }}
  server {{
    listen 127.0.0.1:{failing} backlog=4096;
    default_type application/json;
    location / {{ if ($half) {{ return 503; }} return 200 '{body}'; }}
  }}
  server {{
    listen 127.0.0.1:{tls} ssl backlog=4096;
    ssl_certificate {certs}/web.pem; ssl_certificate_key {certs}/web.key;
    ssl_client_certificate {certs}/ca.pem; ssl_verify_client optional; ssl_session_tickets off;
    default_type application/json;
    location / {{ return 200 '{body}'; }}
  }}
  server {{
    {many}
    default_type application/json;
    location / {{ return 200 '{body}'; }}
  }}
}}
"""


def addresses() -> list[str]:
    """Those of the seventh port."""
    return [f"127.0.{number // 250 + 1}.{number % 250 + 1}" for number in range(1000)]


def nginx_path() -> str | None:
    """Debian keeps it outside an ordinary user's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def _command(ports: list[int], directory: Path) -> list[str]:
    nginx = nginx_path()
    if nginx is None:
        return [sys.executable, "-m", "bench.backend_server", *map(str, ports[:4])]
    *plain, http2, _bodies, flaky, many, tls, failing = ports[:9]
    listens = " ".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in plain)
    listens += f" listen 127.0.0.1:{http2} http2 backlog=4096;"
    (directory / "large").write_bytes(bytes(LARGE))
    (directory / "medium").write_bytes(bytes(MEDIUM))
    (directory / "small").write_text(
        "".join(f'{{"id":{number},"name":"item {number * 7919}"}}' for number in range(480))
    )
    certificates = Certificates(directory / "certs")
    certificates.make()
    configuration = directory / "nginx.conf"
    configuration.write_text(
        NGINX.format(
            directory=directory,
            listens=listens,
            body=BODY,
            message="\\0" * 5 + BODY,
            allowed="\0" * 5,
            below="\0\0\0\0\2\x08\1",
            flaky=flaky,
            failing=failing,
            tls=tls,
            certs=certificates.directory,
            many=" ".join(f"listen {address}:{many};" for address in addresses()),
        )
    )
    return [nginx, "-e", "stderr", "-p", str(directory), "-c", str(configuration)]


@contextmanager
def backend(directory: Path, cpu: int) -> Iterator[list[int]]:
    """Run the backend and give its ports."""
    ports = free_ports(9 + STREAM_PORTS)
    output = directory / "backend.log"
    server: subprocess.Popen[bytes] = process.start(_command(ports, directory), cpu, Path.cwd(), output)
    bodies = process.start([sys.executable, "-m", "bench.body_server", str(ports[4])], cpu, Path.cwd(), output)
    streams = process.start(
        [sys.executable, "-m", "bench.stream_server", *map(str, ports[9:])], cpu, Path.cwd(), output
    )
    try:
        for port in ports[:3]:
            wait_for_answer(port, server, output, timeout_s=10.0)
        wait_for_answer(ports[4], bodies, output, timeout_s=10.0)
        wait_for_answer(ports[9], streams, output, timeout_s=10.0)
        yield ports
    finally:
        process.stop(streams)
        process.stop(bodies)
        process.stop(server)
