"""What both surroundings of the demo offer its story: two applications, two sidecars, and a way to talk to each."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.demo.mesh_files import MeshFiles
from examples.demo.relay import Address

ORIGINAL_DST = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
PROXY_PROTOCOL = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"


class DemoError(Exception):
    """The demo can't go on; the text says why."""


def agent_command(*flags: str) -> list[str]:
    """What a sidecar container runs, behind its Python."""
    return ["-m", "meshproxy.cli", "agent", "proxy", "sidecar", "--", "--file-flush-interval-msec", "50", *flags]


def agent_environment(name: str, ip: str, folder: Path, ports: dict[str, int]) -> dict[str, str]:
    """What an injector would tell the agent of a pod. ports: of `admin`, `status`, `ready` and `prometheus`."""
    proxy = {
        "configPath": str(folder / "etc"),
        "customConfigFile": str(folder / f"{name}.yaml"),
        "statusPort": ports["status"],
        "proxyAdminPort": ports["admin"],
        "terminationDrainDuration": "0s",
    }
    return {
        "POD_NAME": name,
        "POD_NAMESPACE": "default",
        "SERVICE_ACCOUNT": name,
        "INSTANCE_IP": ip,
        "ENVOY_STATUS_PORT": str(ports["ready"]),
        "ENVOY_PROMETHEUS_PORT": str(ports["prometheus"]),
        "PROXY_CONFIG": json.dumps(proxy),
    }


class Sidecar:
    """A running meshproxy with its agent, and its access log (a JSON object a line, on standard output)."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: list[dict[str, Any]] = []
        self._errors: list[str] = []
        for target in (self._read_log, self._read_errors):
            threading.Thread(target=target, daemon=True).start()

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                self._lines.append(json.loads(line))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors.extend(self.process.stderr)

    def logged(self, field: str, value: str) -> dict[str, Any]:
        """The log line with this value. Raises DemoError if none comes within 20 seconds."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for line in self._lines[::-1]:
                if line.get(field) == value:
                    return line
            time.sleep(0.02)
        raise DemoError(f"sidecar {self.name} logged nothing with {field}={value!r}{self.complaint()}")

    def complaint(self) -> str:
        """What it wrote to standard error, for a message."""
        return "".join(f"\n  {line.rstrip()}" for line in self._errors[-20:])

    def stop(self) -> None:
        """Lets it drain, for a moment."""
        if self.process.poll() is None:
            self.process.terminate()


class Surroundings(ABC):
    """Where the story happens. `web_sidecar` stands beside the calling application, `shop_sidecar` beside the other.

    shop_ips: the address of the shop's pod, and another one of it.
    """

    title: str
    kernel_out: str
    kernel_in: str
    web_sidecar: Sidecar
    shop_sidecar: Sidecar
    files: MeshFiles
    shop_ips: list[str]
    closing: list[str]

    @abstractmethod
    def to_web(self) -> socket.socket:
        """A connection to the application `web` itself, past every sidecar."""

    @abstractmethod
    def to_admin(self, sidecar: Sidecar) -> socket.socket:
        """A connection to a sidecar's admin interface."""

    @abstractmethod
    def admin_door(self, sidecar: Sidecar) -> Address:
        """Where a browser on this machine reaches a sidecar's admin interface."""

    @abstractmethod
    def close(self) -> None:
        """Ends what was started."""

    @staticmethod
    def wait_for_app(connect: Callable[[], socket.socket]) -> None:
        """Waits until an application accepts. Raises DemoError after 30 seconds."""
        deadline = time.monotonic() + 30
        while True:
            try:
                connect().close()
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise DemoError(f"an application did not start: {error}") from error
                time.sleep(0.05)

    def call(self, path: str, **headers: str) -> dict[str, Any]:
        """Has the application `web` call the shop; what it saw. Raises DemoError if it saw nothing."""
        wish = json.dumps({"path": path, "headers": {name.replace("_", "-"): v for name, v in headers.items()}})
        _, text = exchange(self.to_web(), "POST", "/", wish)
        seen: dict[str, Any] = json.loads(text)
        if "error" in seen:
            raise DemoError(f"the application got no answer: {seen['error']}{self.web_sidecar.complaint()}")
        return seen

    def admin(self, sidecar: Sidecar, path: str) -> str:
        """What a sidecar's admin interface answers."""
        return exchange(self.to_admin(sidecar), "GET", path)[1]

    def wait_until_ready(self) -> None:
        """Waits for both sidecars. Raises DemoError after a minute, or when one has ended."""
        deadline = time.monotonic() + 60
        for sidecar in (self.web_sidecar, self.shop_sidecar):
            while not self._is_ready(sidecar):
                if sidecar.process.poll() is not None or time.monotonic() > deadline:
                    time.sleep(0.2)
                    raise DemoError(f"sidecar {sidecar.name} did not start{sidecar.complaint()}")
                time.sleep(0.05)

    def _is_ready(self, sidecar: Sidecar) -> bool:
        try:
            return exchange(self.to_admin(sidecar), "GET", "/ready")[0] == 200
        except (OSError, http.client.HTTPException):
            return False


def exchange(connected: socket.socket, method: str, path: str, body: str = "") -> tuple[int, str]:
    """One request over a socket that is connected already: status and body. Raises OSError, HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1")
    connection.sock = connected
    try:
        connection.request(method, path, body=body.encode() or None)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
