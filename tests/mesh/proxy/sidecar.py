"""meshproxy as the sidecar of a pod: as uid 1337, in its network namespace, its access log read back."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.demo.kernel import network_of

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
UID = 1337

# The program's files lie where uid 1337 may not look (a clone or a Python below /root): they are bound to a folder that
# everyone may read, inside the mount namespace that `ip netns exec` makes, so that they are gone with the process.
_START = """\
mount --bind "$WORK_SITE" "$WORK/site"
mount --bind "$WORK_BASE" "$WORK/base"
[ ! -e resolv.conf ] || mount --bind resolv.conf /etc/resolv.conf
exec setpriv --reuid=1337 --regid=1337 --clear-groups $WORK_CAPS "$WORK/base/$WORK_PROGRAM" -m meshproxy.cli "$@"
"""


def connect(namespace: str, host: str, port: int, source: str = "") -> socket.socket:
    """A TCP connection from inside a network namespace."""
    with network_of(f"/run/netns/{namespace}"):
        return socket.create_connection((host, port), timeout=5, source_address=(source, 0) if source else None)


def ask(
    namespace: str, host: str, port: int, path: str = "/", authority: str = "app", body: bytes = b""
) -> tuple[int, dict[str, Any]]:
    """An HTTP request from inside a network namespace: status, and the server's answer as JSON."""
    client = http.client.HTTPConnection(host, port, timeout=5)
    client.sock = connect(namespace, host, port)
    try:
        client.request("POST" if body else "GET", path, body=body or None, headers={"host": authority})
        response = client.getresponse()
        text = response.read()
        return response.status, json.loads(text) if response.status == 200 else {"text": text.decode()}
    finally:
        client.close()


@contextlib.contextmanager
def readable_copy() -> Iterator[Path]:
    """A folder that every user may read, with the sources and empty places for the rest."""
    with tempfile.TemporaryDirectory(prefix="meshproxy-mesh-") as name:
        work = Path(name)
        for package in ("meshproxy", "filters/meshproxy_filters"):
            shutil.copytree(ROOT / package, work / "source" / Path(package).name)
        for place in ("site", "base"):
            (work / place).mkdir()
        subprocess.run(["chmod", "-R", "go+rX", name], check=True)
        yield work


def start(
    work: Path,
    namespace: str,
    arguments: Sequence[str],
    log: Path,
    *,
    cwd: Path | None = None,
    net_admin: bool = False,
    environ: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts meshproxy as uid 1337 inside a network namespace. log: where its output goes."""
    program = Path(sys.executable).resolve().relative_to(sys.base_prefix)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{work}/source:{work}/site",
        "LD_LIBRARY_PATH": f"{work}/base/lib",  # a Python with a shared library looks for it where it was built
        "WORK": str(work),
        "WORK_SITE": sysconfig.get_path("purelib"),
        "WORK_BASE": sys.base_prefix,
        "WORK_PROGRAM": str(program),
        "WORK_CAPS": "--inh-caps=+net_admin --ambient-caps=+net_admin" if net_admin else "",
        **(environ or {}),
    }
    with log.open("w") as output:
        return subprocess.Popen(
            ["ip", "netns", "exec", namespace, "sh", "-e", "-c", _START, "sh", *arguments],
            env=environment,
            cwd=cwd or work,
            stdin=subprocess.DEVNULL,
            stdout=output,
        )


class Sidecar:
    """A running sidecar. `values` replace the `@NAME@`s of sidecar.yaml."""

    def __init__(self, work: Path, namespace: str, values: dict[str, str], *, net_admin: bool = False) -> None:
        self.namespace = namespace
        text = (HERE / "sidecar.yaml").read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        config = work / f"{namespace}.yaml"
        config.write_text(text)
        self._log = work / f"{namespace}.log"
        arguments = ["-c", str(config), "--file-flush-interval-msec", "20"]
        self.process = start(work, namespace, arguments, self._log, net_admin=net_admin)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            assert self.process.poll() is None, "the sidecar ended; its error is above"
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.admin("/ready").strip() == "LIVE":
                    return
            assert time.monotonic() < deadline, "the sidecar does not become ready"
            time.sleep(0.05)

    def admin(self, path: str) -> str:
        """What its admin interface answers."""
        client = http.client.HTTPConnection("127.0.0.1", 15000)
        client.sock = connect(self.namespace, "127.0.0.1", 15000)
        try:
            client.request("GET", path)
            return client.getresponse().read().decode()
        finally:
            client.close()

    def stat(self, name: str) -> int:
        """A counter or gauge; 0 if it was never touched."""
        for line in self.admin("/stats").splitlines():
            key, _, value = line.rpartition(": ")
            if key == name:
                return int(value)
        return 0

    def accepted(self) -> int:
        """How many connections its listeners have taken in all."""
        lines = self.admin("/stats?filter=%5Elistener%5C..*downstream_cx_total$").splitlines()
        return sum(int(line.rpartition(": ")[2]) for line in lines if ".admin." not in line and "worker_" not in line)

    def descriptors(self) -> int:
        """Open file descriptors of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def lines(self) -> list[dict[str, Any]]:
        """The access log so far."""
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    def logged(self, count: int = 1, **fields: str) -> list[dict[str, Any]]:
        """The log lines with these values, once there are `count` of them; fails after three seconds."""
        deadline = time.monotonic() + 3
        while True:
            found = [line for line in self.lines() if all(line[key] == value for key, value in fields.items())]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"no {count} line(s) with {fields} in {self.lines()[-8:]}"
            time.sleep(0.02)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
