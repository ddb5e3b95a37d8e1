"""The example as a third party has it: built from its own folder, installed, found, and in the way of traffic."""

from __future__ import annotations

import http.client
import os
import shutil
import site
import socket
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ..ports import free_ports

EXAMPLE = Path(__file__).parents[2] / "examples" / "token-gate"


class Application(BaseHTTPRequestHandler):
    """Says who it was told that the user is."""

    def do_GET(self) -> None:
        body = self.headers.get("x-user", "nobody").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Tests are quiet."""


class Tokens(Application):
    """Knows one token."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/t/good" else 404)
        self.send_header("x-user", "ann")
        self.send_header("content-length", "0")
        self.end_headers()


@pytest.fixture
def backends() -> Iterator[tuple[int, int]]:
    """Ports of an application and a token service."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Application, Tokens)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    for thread in threads:
        thread.start()
    yield servers[0].server_port, servers[1].server_port
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment: what is installed here, and the example built and installed on top."""
    directory = tmp_path_factory.mktemp("third-party")
    venv.create(directory / "venv", with_pip=False)
    interpreter = directory / "venv" / "bin" / "python"
    packages = next((directory / "venv" / "lib").glob("python3*")) / "site-packages"
    lines = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
    (packages / "outer.pth").write_text("".join(lines))
    shutil.copytree(EXAMPLE, directory / "source", ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    command = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", str(directory / "source")], check=True, timeout=120)
    return interpreter


@pytest.fixture
def proxy(python: Path, backends: tuple[int, int], tmp_path: Path) -> Iterator[int]:
    """The port of a meshproxy that runs the example's own configuration."""
    (port,) = free_ports(1)
    config = (EXAMPLE / "envoy.yaml").read_text()
    for example, real in (("10000", port), ("8080", backends[0]), ("8090", backends[1])):
        config = config.replace(f"port_value: {example}", f"port_value: {real}")
    (tmp_path / "envoy.yaml").write_text(config)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(python), "-m", "meshproxy.cli", "-c", str(tmp_path / "envoy.yaml")]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment)
    try:
        for _ in range(200):
            assert process.poll() is None, "meshproxy ended"
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_it_is_installed_and_in_the_way_of_traffic(proxy: int) -> None:
    assert get(proxy, "/orders", x_api_token="good", x_user="root") == (200, b"ann")
    assert get(proxy, "/orders", x_api_token="good") == (200, b"ann")
    assert get(proxy, "/orders", x_api_token="bad")[0] == 401
    assert get(proxy, "/orders")[0] == 401
    assert get(proxy, "/admin/x", x_api_token="good") == (403, b"denied")
    assert get(proxy, "/open") == (200, b"nobody")


def test_a_fault_in_its_configuration_is_named_with_its_line(python: Path, tmp_path: Path) -> None:
    config = (EXAMPLE / "envoy.yaml").read_text().replace("timeout: 0.5", "timeout: soon")
    (tmp_path / "envoy.yaml").write_text(config)
    line = config[: config.index("timeout: soon")].count("\n") + 1
    command = [str(python), "-m", "meshproxy.cli", "-c", str(tmp_path / "envoy.yaml"), "--mode", "validate"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert outcome.returncode == 1
    assert f"envoy.yaml:{line}:" in outcome.stdout + outcome.stderr


def test_the_examples_own_tests_pass(python: Path) -> None:
    command = [str(python), "-m", "pytest", "-q", "-p", "no:asyncio", "-p", "no:cacheprovider", str(EXAMPLE / "tests")]
    subprocess.run([*command, "-c", str(EXAMPLE / "pyproject.toml")], check=True, timeout=120)
