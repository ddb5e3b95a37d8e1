"""Two pods made of network namespaces, and programs in them. The host's own network is never touched.

`mpX-br` holds a bridge, `mpX-a` is the pod under test (10.77.0.2, fd77::2), `mpX-b` the rest of the world (10.77.0.3,
fd77::3, and the service addresses 10.99.0.1 and fd99::1). Each is the other's default route.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import meshproxy_iptables

AGENT = (Path(__file__).parent / "agent.py").read_text()
PACKAGE = str(Path(meshproxy_iptables.__file__).parent.parent)
PYTHON = "/usr/bin/python3"
"""The system's: a virtual environment of root's can't be read by the other uids."""

POD4, POD6 = "10.77.0.2", "fd77::2"
PEER4, PEER6 = "10.77.0.3", "fd77::3"
VIP4, VIP6 = "10.99.0.1", "fd99::1"
OUT4, OUT6 = "10.77.0.200", "fd77::200"

_serial = itertools.count()

_LINKS = """\
ip netns add {br}
ip netns add {a}
ip netns add {b}
ip -n {br} link add br0 type bridge
ip -n {br} link set br0 up
ip -n {br} link add va type veth peer name eth0 netns {a}
ip -n {br} link add vb type veth peer name eth0 netns {b}
ip -n {br} link set va master br0 up
ip -n {br} link set vb master br0 up
"""
_POD = """\
link set lo up
link set eth0 addrgenmode none up
address add {v4}/24 dev eth0
address add {v6}/64 dev eth0 nodad
route add default via {peer4}
route add default via {peer6}
"""
_WORLD = f"""\
address add {VIP4}/32 dev lo
address add {VIP6}/128 dev lo nodad
address add {OUT4}/32 dev eth0
address add {OUT6}/128 dev eth0 nodad preferred_lft 0
"""


def why_not() -> str:
    """Why these tests can't run here; "" if they can."""
    if os.geteuid() != 0:
        return "needs root: network namespaces and packet filter rules"
    for tool in ("ip", "nft", "iptables-legacy", "iptables-nft", "setpriv", PYTHON):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    probe = f"mpprobe{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode:
        return "needs the right to make network namespaces"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return ""


class Namespace:
    """One network namespace, and the processes that a test started in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._processes: list[subprocess.Popen[str]] = []
        self._clients: dict[tuple[int, int], subprocess.Popen[str]] = {}

    def run(
        self, *argv: str, text: str = "", environ: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *argv],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **(environ or {})},
        )

    def output(self, *argv: str, text: str = "") -> str:
        """What a command prints; it has to succeed."""
        done = self.run(*argv, text=text)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def ip(self, script: str) -> None:
        """Lines for `ip -batch`."""
        subprocess.run(["ip", "-n", self.name, "-batch", "-"], input=script, text=True, check=True)

    def intercept(
        self, *flags: str, uid: int = 0, bounding: str = "", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs meshproxy-iptables; the environment holds nothing but `environ`. bounding: the capabilities it has."""
        identity = [] if uid == 0 else ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        if bounding:
            identity = ["setpriv", f"--bounding-set={bounding}", "--inh-caps=-all"]
        return self.run(
            *identity, "env", "-i", f"PYTHONPATH={PACKAGE}", f"PATH={os.environ['PATH']}",
            *(f"{name}={value}" for name, value in environ.items()),
            PYTHON, "-m", "meshproxy_iptables", *flags,
        )  # fmt: skip

    def serve(self, tag: str, *arguments: str, uid: int, transparent: bool = False) -> subprocess.Popen[str]:
        """Starts a server and waits until it listens."""
        options = ["--transparent"] if transparent else []
        process = self._start(["serve", tag, *options, *arguments], uid, uid, transparent)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", f"{tag} did not start"
        return process

    def tcp(self, host: str, port: int, uid: int = 1000, gid: int | None = None, bind: str = "") -> dict[str, Any]:
        """Connects as uid and gid; the server's answer with the client's view, or `error`."""
        return self._ask(uid, gid, {"proto": "tcp", "host": host, "port": port, "bind": bind})

    def udp(self, host: str, port: int, uid: int = 1000, gid: int | None = None) -> dict[str, Any]:
        """Sends a datagram as uid and gid; the answer with its `source`, or `error`."""
        return self._ask(uid, gid, {"proto": "udp", "host": host, "port": port})

    def stop(self, process: subprocess.Popen[str]) -> None:
        """Ends one process, which this namespace started."""
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        self._processes.remove(process)

    def close(self) -> None:
        """Ends all processes and removes the namespace."""
        for process in list(self._processes):
            self.stop(process)
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def _ask(self, uid: int, gid: int | None, request: dict[str, Any]) -> dict[str, Any]:
        identity = (uid, uid if gid is None else gid)
        if identity not in self._clients:
            self._clients[identity] = self._start(["client"], *identity, False)
        process = self._clients[identity]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer

    def _start(self, arguments: Sequence[str], uid: int, gid: int, net_admin: bool) -> subprocess.Popen[str]:
        capabilities = ["--inh-caps=+net_admin", "--ambient-caps=+net_admin"] if net_admin else []
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups",
             *capabilities, PYTHON, "-I", "-c", AGENT, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
        )  # fmt: skip
        self._processes.append(process)
        return process


class Pods:
    """The pod under test (`a`), the world (`b`), and what is between them."""

    def __init__(self) -> None:
        prefix = f"mp{os.getpid()}x{next(_serial)}"
        names = {"br": f"{prefix}-br", "a": f"{prefix}-a", "b": f"{prefix}-b"}
        self._bridge = Namespace(names["br"])
        self.a, self.b = Namespace(names["a"]), Namespace(names["b"])
        subprocess.run(["sh", "-e", "-c", _LINKS.format(**names)], check=True)
        self.a.ip(_POD.format(v4=POD4, v6=POD6, peer4=PEER4, peer6=PEER6))
        self.b.ip(_POD.format(v4=PEER4, v6=PEER6, peer4=POD4, peer6=POD6) + _WORLD)

    def close(self) -> None:
        for namespace in (self.a, self.b, self._bridge):
            namespace.close()
