"""The surroundings with root: two pods made of network namespaces, real interception rules, sidecars as uid 1337.

Runs as the first process of private process and mount namespaces (`kernel.alone`), with an empty /run of its own. The
pods are held by mounts below that /run alone, so nothing outlives this process, whatever ends it, and the host's own
network and packet filter are never touched.

    web 10.77.0.2 --veth-- bridge (in a namespace of its own) --veth-- shop 10.77.0.3, and the service's 10.99.0.1
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

from examples.demo.kernel import network_of
from examples.demo.mesh_files import HERE, MeshFiles, fill_in
from examples.demo.places import (
    ORIGINAL_DST,
    DemoError,
    Sidecar,
    Surroundings,
    agent_command,
    agent_environment,
)
from examples.demo.relay import Address, Relay

_ROOT = HERE.parent.parent
_WORK = Path("/run/meshproxy")
_PROXY, _APP = 1337, 1000
_SERVICE = "10.99.0.1"
_SECOND = "10.77.0.4"
"""Another address of the pod shop, which the mesh gets to know later."""

_PODS = {"web": "10.77.0.2", "shop": "10.77.0.3"}
RULES = ["-p", "15001", "-z", "15006", "-u", "1337", "-g", "1337", "-i", "*", "-b", "*", "-d", "15090,15021,15020"]

_VALUES: dict[str, str | int] = {
    "ANY_IP": "0.0.0.0", "WEB_IP": _PODS["web"], "SHOP_IP": _PODS["shop"], "SHOP_APP_IP": _PODS["shop"],
    "WEB_ADMIN_PORT": 15000, "WEB_OUTBOUND_PORT": 15001, "WEB_INBOUND_PORT": 15006,
    "SHOP_ADMIN_PORT": 15000, "SHOP_OUTBOUND_PORT": 15001, "SHOP_INBOUND_PORT": 15006,
    "SHOP_PORT": 80, "SHOP_V1_PORT": 8001, "SHOP_V2_PORT": 8002, "SHOP_APP_V1_PORT": 8001, "SHOP_APP_V2_PORT": 8002,
    "ORIGINAL_DESTINATION": ORIGINAL_DST, "CERTS": str(_WORK / "certs"),
    "WEB_CONFIG": str(_WORK / "discovery"),
}  # fmt: skip

_AGENT_PORTS = {"admin": 15000, "status": 15020, "ready": 15021, "prometheus": 15090}

_BRIDGE = """\
netns add mesh
-n mesh link add br0 type bridge
-n mesh link set br0 up
"""
_POD = """\
netns add {name}
-n mesh link add {name} type veth peer name eth0 netns {name}
-n mesh link set {name} master br0 up
-n {name} link set lo up
-n {name} link set eth0 up
-n {name} address add {ip}/24 dev eth0
-n {name} route add default dev eth0
"""


def run(command: list[str]) -> str:
    """A command's output. Raises DemoError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    if done.returncode:
        raise DemoError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def readable_python() -> tuple[str, dict[str, str]]:
    """A Python that uid 1337 can run, and its environment; what it needs is bound or copied to where all may look."""
    os.umask(0o022)
    source = _WORK / "source"
    for package in ("meshproxy", "filters/meshproxy_filters", "iptables/meshproxy_iptables"):
        shutil.copytree(_ROOT / package, source / Path(package).name)
    shutil.copy(HERE / "app.py", _WORK)
    run(["chmod", "-R", "go+rX", str(_WORK)])
    site = _WORK / "site"
    site.mkdir()
    run(["mount", "--bind", sysconfig.get_path("purelib"), str(site)])
    program = Path(sys.executable).resolve()
    if subprocess.run([*identity(_PROXY), str(program), "-c", ""], capture_output=True, check=False).returncode:
        prefix = _WORK / "python"  # a Python below somebody's home
        prefix.mkdir()
        run(["mount", "--bind", sys.base_prefix, str(prefix)])
        program = prefix / program.relative_to(sys.base_prefix)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{source}:{site}",
        "LD_LIBRARY_PATH": str(program.parent.parent / "lib"),  # for a Python that has a shared library of its own
    }
    return str(program), environment


def identity(uid: int) -> list[str]:
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]


class Pods(Surroundings):
    title = "two pods made of network namespaces"
    kernel_out = "REDIRECT to the sidecar's port {port}; the kernel remembers the address"
    kernel_in = "REDIRECT to the sidecar's port {port}; the kernel remembers the address"

    def __init__(self) -> None:
        run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])
        _WORK.mkdir()
        hosts = _WORK / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{_SERVICE} shop shop.default shop.default.svc.cluster.local\n")
        run(["mount", "--bind", str(hosts), "/etc/hosts"])
        self._python, self._environment = readable_python()
        self._doors: dict[str, Relay] = {}
        self.files = MeshFiles(_WORK, _VALUES, _PROXY)
        self.shop_ips = [_PODS["shop"], _SECOND]
        self._make_pods()
        self._start_apps()
        for name in _PODS:
            self._within(name, [sys.executable, "-m", "meshproxy_iptables", *RULES])
        self.web_sidecar, self.shop_sidecar = (self._sidecar(name) for name in _PODS)
        me = Path("/proc/self").readlink()  # this /proc is the host's, and so is the number
        self.closing = [
            "in the pod web: "
            f"nsenter -m -t {me} ip netns exec web setpriv --reuid 1000 --clear-groups curl http://shop/items/1",
            f"its rules:      nsenter -m -t {me} ip netns exec web iptables -t nat -S",
        ]

    def _make_pods(self) -> None:
        lines = _BRIDGE + "".join(_POD.format(name=name, ip=ip) for name, ip in _PODS.items())
        for line in lines.splitlines():
            run(["ip", *line.split()])
        run(["ip", "-n", "shop", "address", "add", f"{_SERVICE}/32", "dev", "lo"])
        run(["ip", "-n", "shop", "address", "add", f"{_SECOND}/24", "dev", "eth0"])

    def _start_apps(self) -> None:
        for version in ("1", "2"):
            self._app("shop", "0.0.0.0", f"800{version}", "shop", f"v{version}")
        self._app("web", "127.0.0.1", "9080", "web", "shop", "80")

    def _app(self, pod: str, ip: str, port: str, *arguments: str) -> None:
        command = [*self._enter(pod), *identity(_APP), self._python, "-I", str(_WORK / "app.py"), ip, port, *arguments]
        subprocess.Popen(command, env=self._environment, stdin=subprocess.DEVNULL)
        self.wait_for_app(lambda: self._connect(pod, int(port)))

    def _sidecar(self, name: str) -> Sidecar:
        folder = _WORK / name
        folder.mkdir()
        os.chown(folder, _PROXY, _PROXY)
        path = folder / f"{name}.yaml"
        path.write_text(fill_in(path.name, _VALUES))
        command = [*self._enter(name), *identity(_PROXY), self._python, *agent_command()]
        environment = self._environment | agent_environment(name, _PODS[name], folder, _AGENT_PORTS)
        return Sidecar(name, command, environment, folder)

    @staticmethod
    def _enter(pod: str) -> list[str]:
        return ["ip", "netns", "exec", pod]

    def _within(self, pod: str, command: list[str]) -> str:
        return run([*self._enter(pod), *command])

    def _connect(self, pod: str, port: int) -> socket.socket:
        with network_of(f"/run/netns/{pod}"):
            return socket.create_connection(("127.0.0.1", port), timeout=15)

    def to_web(self) -> socket.socket:
        return self._connect("web", 9080)

    def to_admin(self, sidecar: Sidecar) -> socket.socket:
        return self._connect(sidecar.name, 15000)

    def admin_door(self, sidecar: Sidecar) -> Address:
        if sidecar.name not in self._doors:
            door = Relay(("127.0.0.1", 0), lambda peer, asked: self.to_admin(sidecar))
            self._doors[sidecar.name] = door
        return self._doors[sidecar.name].address

    def close(self) -> None:
        """Nothing to do but to end: the kernel takes the rest along."""
        for sidecar in (self.web_sidecar, self.shop_sidecar):
            sidecar.stop()
        for sidecar in (self.web_sidecar, self.shop_sidecar):
            try:
                sidecar.process.wait(5)
            except subprocess.TimeoutExpired:
                sidecar.process.kill()
