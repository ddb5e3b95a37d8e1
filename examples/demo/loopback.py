"""The surroundings without root: everything on loopback addresses, and small relays where the kernel would redirect.

An address of 127.0.0.0/8 stands for each of the service and the pod. A relay listens there, takes what the
application sends, and brings it to the sidecar with a PROXY protocol line in front that names the address.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from examples.demo.mesh_files import HERE, MeshFiles, fill_in
from examples.demo.places import (
    PROXY_PROTOCOL,
    DemoError,
    Sidecar,
    Surroundings,
    agent_command,
    agent_environment,
)
from examples.demo.relay import Address, Relay, redirect_to

_HOME, _SERVICE, _SHOP, _SECOND = "127.0.0.1", "127.99.0.1", "127.77.0.3", "127.77.0.4"
_PREFIX = "meshproxy-demo-"
_PORT_RANGE = range(2_000, 10_000)
"""Below the ports that the kernel gives to connections, which could take one before its program binds it."""

_PORTS = (
    "SHOP_PORT", "SHOP_V1_PORT", "SHOP_V2_PORT", "SHOP_APP_V1_PORT", "SHOP_APP_V2_PORT", "WEB_APP_PORT",
    "WEB_ADMIN_PORT", "WEB_OUTBOUND_PORT", "WEB_INBOUND_PORT",
    "SHOP_ADMIN_PORT", "SHOP_OUTBOUND_PORT", "SHOP_INBOUND_PORT",
    "WEB_STATUS_PORT", "WEB_READY_PORT", "WEB_PROMETHEUS_PORT",
    "SHOP_STATUS_PORT", "SHOP_READY_PORT", "SHOP_PROMETHEUS_PORT",
)  # fmt: skip


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now. Raises DemoError if there aren't enough."""
    ports: list[int] = []
    for port in random.sample(_PORT_RANGE, len(_PORT_RANGE)):
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise DemoError(f"fewer than {count} free ports from {_PORT_RANGE.start} to {_PORT_RANGE.stop - 1}")


def remove_leftovers() -> None:
    """Removes the folders of earlier runs that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


class Loopback(Surroundings):
    title = "on loopback, because making pods needs root"
    kernel_out = "a relay instead of the kernel: PROXY protocol line with that address, to the sidecar's port {port}"
    kernel_in = "again a relay: PROXY protocol line, to the sidecar's port {port}"

    def __init__(self) -> None:
        remove_leftovers()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self._ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        values: dict[str, str | int] = {
            "CERTS": str(self._folder / "certs"), "WEB_CONFIG": str(self._folder / "discovery"),
            "ANY_IP": _HOME, "WEB_IP": _HOME, "SHOP_IP": _SHOP, "SHOP_APP_IP": _HOME,
            "ORIGINAL_DESTINATION": PROXY_PROTOCOL, **self._ports,
        }  # fmt: skip
        ports = self._ports
        self.files = MeshFiles(self._folder, values)
        self.shop_ips = [_SHOP, _SECOND]
        try:
            for version in ("V1", "V2"):
                self._app(ports[f"SHOP_APP_{version}_PORT"], "shop", version.lower())
                for ip in self.shop_ips:
                    Relay((ip, ports[f"SHOP_{version}_PORT"]), redirect_to((_HOME, ports["SHOP_INBOUND_PORT"])))
            Relay((_SERVICE, ports["SHOP_PORT"]), redirect_to((_HOME, ports["WEB_OUTBOUND_PORT"])))
            self._app(ports["WEB_APP_PORT"], "web", _SERVICE, str(ports["SHOP_PORT"]))
            self.web_sidecar = self._sidecar("web", values)
            self.shop_sidecar = self._sidecar("shop", values)
        except OSError as error:
            self.close()
            raise DemoError(f"could not start on loopback: {error}") from error
        self.closing = [
            f"call the shop:  curl -H 'host: shop' http://{_SERVICE}:{ports['SHOP_PORT']}/items/1",
        ]

    def _with_parent(self, command: list[str]) -> list[str]:
        """The command, ended by the kernel when this process ends in whatever way."""
        return ["setpriv", f"--pdeathsig={signal.SIGKILL.name.removeprefix('SIG')}", *command]

    def _app(self, port: int, *arguments: str) -> None:
        command = self._with_parent([sys.executable, "-I", str(HERE / "app.py"), _HOME, str(port), *arguments])
        self._processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
        self.wait_for_app(lambda: socket.create_connection((_HOME, port), timeout=5))

    def _sidecar(self, name: str, values: dict[str, str | int]) -> Sidecar:
        folder = self._folder / name
        folder.mkdir()
        path = folder / f"{name}.yaml"
        path.write_text(fill_in(path.name, values))
        kinds = ("admin", "status", "ready", "prometheus")
        ports = {kind: self._ports[f"{name.upper()}_{kind.upper()}_PORT"] for kind in kinds}
        environment = {**os.environ, **agent_environment(name, _HOME, folder, ports)}
        return Sidecar(name, self._with_parent([sys.executable, *agent_command()]), environment, folder)

    def to_web(self) -> socket.socket:
        return socket.create_connection((_HOME, self._ports["WEB_APP_PORT"]), timeout=15)

    def to_admin(self, sidecar: Sidecar) -> socket.socket:
        return socket.create_connection(self.admin_door(sidecar), timeout=5)

    def admin_door(self, sidecar: Sidecar) -> Address:
        return _HOME, self._ports[f"{sidecar.name.upper()}_ADMIN_PORT"]

    def close(self) -> None:
        for name in ("web_sidecar", "shop_sidecar"):
            if hasattr(self, name):
                getattr(self, name).stop()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()
        for name in ("web_sidecar", "shop_sidecar"):
            if hasattr(self, name):
                sidecar = getattr(self, name)
                try:
                    sidecar.process.wait(5)
                except subprocess.TimeoutExpired:
                    sidecar.process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
