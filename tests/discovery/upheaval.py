"""What a control plane does on its worst day, under load: changes of everything, death and return, spoilt
pushes, a flood.

`python -m tests.discovery.upheaval [envoy|meshproxy ...]` prints one table for each program: for each trouble the
requests that failed, the times beside those of a quiet phase, and the memory that is left behind. Bounded: about two
minutes for a program.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import any_pb2

from tests.discovery.ads_server import URLS, AdsServer, Stream, pack
from tests.discovery.dialogue import Dialogue
from tests.discovery.resources import bad_cluster, bad_listener, cluster, endpoints, listener, routes
from tests.discovery.subjects import ads_bootstrap, running
from tests.discovery.web import web_process
from tests.system.program import free_ports

CONNECTIONS = 8
RATE = 200.0


class ControlPlane:
    """A server that answers every first request with the state that is in force, and every change by a push."""

    def __init__(self, server: AdsServer, upstream: int, port: int) -> None:
        self.server = server
        self.state: dict[str, list[Any]] = {
            "CDS": [cluster("c1")],
            "EDS": [endpoints("c1", upstream)],
            "LDS": [listener("a", port, "r1")],
            "RDS": [routes("r1", "c1")],
        }
        self.version = 0
        self.nonce = 0
        self.nacks: list[str] = []
        self.acks = 0
        self.stream: Stream | None = None
        self._serving: set[asyncio.Task[None]] = set()
        server.on_stream = self._begin

    def _begin(self, stream: Stream) -> None:
        self.stream = stream
        task = asyncio.ensure_future(self._serve(stream))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, stream: Stream) -> None:
        while not stream.ended.is_set():
            try:
                request = await stream.request(1.0)
            except TimeoutError:
                continue
            if request.HasField("error_detail"):
                self.nacks.append(request.error_detail.message)
            elif request.response_nonce:
                self.acks += 1
            else:
                label = next(label for label, url in URLS.items() if url == request.type_url)
                self.push(label)

    def push(self, label: str, resources: list[Any] | None = None) -> None:
        """Send what is in force of a type, or something else."""
        assert self.stream is not None
        self.nonce += 1
        self.version += 1
        chosen = self.state[label] if resources is None else resources
        self.stream.answer(label, f"v{self.version}", f"n{self.nonce}", chosen)

    async def close(self) -> None:
        for task in list(self._serving):
            task.cancel()


@dataclass
class Trial:
    """One program under one control plane."""

    plane: ControlPlane
    talk: Dialogue
    upstreams: Sequence[int]
    port: int

    async def load(self, seconds: float) -> dict[str, Any]:
        """Load for some seconds: its outcome."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.discovery.load", str(self.port), str(CONNECTIONS), str(seconds), str(RATE),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        outcome: dict[str, Any] = json.loads(out)
        return outcome

    def rss(self) -> int:
        """The program's memory in KiB."""
        for line in Path(f"/proc/{self.talk.program.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        return 0

    async def under_load(self, seconds: float, trouble: Callable[[], Awaitable[None]]) -> dict[str, Any]:
        """Load while there is trouble, and what it left behind."""
        before = self.rss()
        loading = asyncio.ensure_future(self.load(seconds))
        await asyncio.sleep(0.5)
        await trouble()
        outcome = await loading
        await asyncio.sleep(0.5)
        outcome["rss_growth_kib"] = self.rss() - before
        return outcome

    # Troubles

    async def restarts(self, times: int) -> None:
        """The server is killed, is away for a moment, and comes back."""
        for _ in range(times):
            await self.plane.server.stop()
            await asyncio.sleep(0.2)
            seen = len(self.plane.server.streams)
            await self.plane.server.start(self.plane.server.address)
            async with asyncio.timeout(40):
                while len(self.plane.server.streams) == seen:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)

    async def reloads(self, times: int) -> None:
        """Every kind of resource changes: the cluster warms anew, and connections of the former listener drain."""
        for number in range(times):
            seen = self.plane.acks
            self.plane.state["CDS"] = [cluster("c1", connect_timeout=f"{number + 2}s")]
            self.plane.state["EDS"] = [endpoints("c1", *self.upstreams[: 1 + number % 2])]
            changed = listener("a", self.port, "r1")
            changed.per_connection_buffer_limit_bytes.value = 100_000 + number
            self.plane.state["LDS"] = [changed]
            for label in ("CDS", "EDS", "LDS", "RDS"):
                self.plane.push(label)
            async with asyncio.timeout(20):
                while self.plane.acks < seen + 4:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)

    async def spoilt(self, times: int) -> None:
        """Pushes of garbage, of another type, and with one bad resource among good ones."""
        garbage = any_pb2.Any(type_url=URLS["CDS"], value=b"\xff\xff\xff")
        spare = self.talk.ports[1]
        for number in range(times):
            seen = len(self.plane.nacks)
            kind = number % 4
            if kind == 0:
                self.plane.push("CDS", [cluster("c1"), garbage])
            elif kind == 1:
                self.plane.push("LDS", [*self.plane.state["LDS"], pack(cluster("q"))])
            elif kind == 2:
                self.plane.push("CDS", [*self.plane.state["CDS"], bad_cluster(f"bad{number}")])
            else:
                self.plane.push("LDS", [*self.plane.state["LDS"], bad_listener(f"bad{number}", spare)])
            async with asyncio.timeout(10):
                while len(self.plane.nacks) == seen:
                    await asyncio.sleep(0.01)
        for label in ("CDS", "LDS"):
            self.plane.push(label)

    async def flood(self, seconds: float, rate: float) -> None:
        """So many updates of endpoints a second; the last one is in force in the end."""
        began = time.monotonic()
        sent = 0
        while (passed := time.monotonic() - began) < seconds:
            while sent < passed * rate:
                self.plane.push("EDS", [endpoints("c1", *self.upstreams[: 1 + sent % 2])])
                sent += 1
            await asyncio.sleep(0.002)
        self.plane.push("EDS", [endpoints("c1", *self.upstreams)])
        last = f"v{self.plane.version}"
        async with asyncio.timeout(30):
            while f'"{last}"' not in (await self.talk.program.ask("/stats?filter=c1.version_text"))[1]:
                await asyncio.sleep(0.05)


@dataclass(frozen=True)
class Extent:
    """How much trouble there is."""

    reloads: int = 20
    restarts: int = 20
    spoilt: int = 20
    flood_seconds: float = 10.0
    flood_rate: float = 1000.0
    quiet: float = 5.0


async def trial(kind: str, extent: Extent) -> dict[str, dict[str, Any]]:
    """All troubles on one program, one after the other."""
    server = AdsServer()
    await server.start()
    admin, port, spare, other = free_ports(4)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with web_process() as upstream, web_process() as second:
            plane = ControlPlane(server, upstream, port)
            config = ads_bootstrap(admin, server.address, "GRPC")
            async with running(kind, config, Path(folder)) as program:
                talk = Dialogue(kind, False, server, program, [port, spare, other], upstream)
                await talk.gets(port, 200)
                await program.ask("/stats?filter=version")  # loads the pages, a mebibyte that no trouble has caused
                one = Trial(plane, talk, (upstream, second), port)
                await one.load(1.0)
                found["quiet"] = await one.under_load(extent.quiet, lambda: asyncio.sleep(0))
                found["reloads"] = await one.under_load(6.0, lambda: one.reloads(extent.reloads))
                seconds = extent.restarts * 0.9 + 2
                found["restarts"] = await one.under_load(seconds, lambda: one.restarts(extent.restarts))
                found["spoilt"] = await one.under_load(4.0, lambda: one.spoilt(extent.spoilt))
                found["flood"] = await one.under_load(
                    extent.flood_seconds + 2, lambda: one.flood(extent.flood_seconds, extent.flood_rate)
                )
                found["nacks"] = {"count": len(plane.nacks)}
                await talk.gets(port, 200)
            await plane.close()
    await server.stop()
    return found


def table(kind: str, found: dict[str, dict[str, Any]]) -> str:
    """The figures for people."""
    lines = [
        f"{kind} ({found['nacks']['count']} pushes refused)",
        "| trouble | requests | failed | p50 ms | p99 ms | max ms | memory KiB |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, outcome in found.items():
        if "requests" in outcome:
            columns = ("requests", "failed", "p50", "p99", "max", "rss_growth_kib")
            lines.append(f"| {name} | " + " | ".join(str(outcome[column]) for column in columns) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    for name in sys.argv[1:] or ["meshproxy", "envoy"]:
        print(table(name, asyncio.run(trial(name, Extent()))))
