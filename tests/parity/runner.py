"""Runs cases on one program: one process for many cases, all cases at once, each on its own listener."""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..certificates import staple_of
from ..ports import PortBlock
from . import bootstrap
from .bootstrap import Names
from .case import Act, Case, Client, Signal, WaitExit
from .h2_wire import show_frames
from .statistics import Statistics
from .subject import Refused, StartFailed, Subject
from .transcript import Normaliser, Timing, Transcript, show_body, show_message, show_wire
from .upstream import Peer, Recorder
from .waiting import Waiting
from .wire import WireReader

AT_ONCE = 64
APART_S = 0.012
"""Between the beginnings of two cases of a session: all at once would keep each other waiting, at uneven times."""

MOST_QUIET_S = 20.0

_REQUEST = re.compile(rb"(?m)^([A-Z-]+) [^\r\n]* HTTP/\d")


class Placed:
    """A case with its ports, its upstreams and the transcript that is being made."""

    def __init__(self, case: Case, directory: Path, block: PortBlock, admin_port: int) -> None:
        self.case = case
        self.directory = directory
        self.transcript = Transcript()
        names = ["port", *(f"port{number}" for number in range(2, case.ports + 1))]
        ports = {name: block.take() for name in names} | {"admin_port": admin_port}
        self.values = {"case": case.name, "dir": str(directory), **{key: str(port) for key, port in ports.items()}}
        self.names = Names(self.values)
        self.recorders = {key: Recorder(script, self.names.fill) for key, script in case.upstreams.items()}
        self.ports = {port: f"<{key}>" for key, port in ports.items()}
        self._clients: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        for key, recorder in self.recorders.items():
            await recorder.start()
            self.values[key] = f"{self.case.name}.{key}"
            self.values[f"{key}_port"] = str(recorder.port)
            self.ports[recorder.port] = f"<{key}_port>"

    @property
    def normalise(self) -> Normaliser:
        return Normaliser(self.ports, str(self.directory), self.case.masks)

    async def run(self, subject: Subject) -> None:
        clients = self.case.all_clients()
        self._clients = [asyncio.create_task(self._client(i, each, subject)) for i, each in enumerate(clients, 1)]
        await asyncio.gather(*self._clients)

    async def _client(self, index: int, client: Client, subject: Subject) -> None:
        if client.after:
            await asyncio.wait([self._clients[client.after - 1]])
        await asyncio.sleep(client.start)
        name = f"client {index}"
        lines = self.transcript.sections.setdefault(name, [])
        loop = asyncio.get_running_loop()
        try:
            reader, writer = await _open(client, int(self.values[client.to]))
        except ssl.SSLError as error:
            lines.append(f"no tls: {error.reason}")
            return
        except ConnectionResetError:
            lines += ["[raw] ''", "end: fin"] if client.raw else ["end: fin"]  # accepted and at once reset
            return
        except OSError as error:
            lines.append(f"connect: {type(error).__name__}")
            return
        agreed = writer.get_extra_info("ssl_object")
        if agreed is not None:
            lines.append(f"tls: {agreed.version()} {agreed.cipher()[0]} alpn={agreed.selected_alpn_protocol()}")
            shown = agreed.getpeercert()
            if staple_of(agreed):
                lines.append(f"staple: {hashlib.sha256(staple_of(agreed)).hexdigest()}")
            lines.append(f"certificate: {shown['subject'][-1][0][1]} {shown.get('subjectAltName', ())}")
        watched = client.timing and self.case.timing
        waited = subject.waiting.seconds if watched else float
        began, before = loop.time(), waited()
        first = last = 0.0
        until_first = until_last = 0.0

        def on_data(_: bytes) -> None:
            nonlocal first, last, until_first, until_last
            last, until_last = loop.time(), waited()
            if not first:
                first, until_first = last, until_last

        peer = Peer(reader, writer, on_data)
        for op in client.ops:
            if isinstance(op, Signal):
                subject.signal(op.name)
            elif op is Act.WAIT_UPSTREAM:
                await self._until_an_upstream_is_asked()
            elif op is Act.WAIT_OTHERS:
                await asyncio.wait([task for task in self._clients if task is not asyncio.current_task()])
            elif isinstance(op, WaitExit):
                lines.append(f"exit code {await subject.wait(op.seconds)}")
            else:
                await peer.act(op, self.names.fill)
        if not peer.left:
            await _until_quiet(peer, client.quiet, subject.waiting)
        ended, until_end = loop.time(), waited()
        how = "we closed" if peer.left else peer.end or "open"
        how = self._told(how)
        peer.pump.cancel()
        await asyncio.gather(peer.pump, return_exceptions=True)
        writer.close()
        self.transcript.ends[name] = how
        lines += [self.normalise(line) for line in self._received(name, client, bytes(peer.received), how)]
        if watched:
            if first:
                self.transcript.timings[f"{name} first byte"] = Timing(first - began, until_first - before)
            if peer.end:
                seconds, lost = ended - (last or began), until_end - (until_last if last else before)
                self.transcript.timings[f"{name} end after last byte"] = Timing(seconds, lost)

    async def _until_an_upstream_is_asked(self) -> None:
        async with asyncio.timeout(10):
            while not any(seen.reader.messages for each in self.recorders.values() for seen in each.seen):
                await asyncio.sleep(0.005)

    def _told(self, end: str) -> str:
        """Whether a close is an RST depends on what was on its way just then: that is told only where asked for."""
        return "fin" if end == "rst" and not self.case.exact_end else end

    def _received(self, name: str, client: Client, data: bytes, how: str) -> list[str]:
        if client.raw:
            return [f"[raw] {show_body(data)}", f"end: {how}"]
        if client.h2:
            return [*show_frames(data), f"end: {how}"]
        sent = b"".join(
            op if isinstance(op, bytes) else self.names.fill(op).encode("latin-1")
            for op in ((getattr(op, "text", op)) for op in client.ops)
            if isinstance(op, bytes | str)
        )
        methods = [found[1].decode() for found in _REQUEST.finditer(sent)]
        wire = WireReader("response", lambda n: methods[n] if n < len(methods) else "GET")
        wire.feed(data)
        if how == "fin":
            wire.finish()
        self.transcript.clients[name] = wire
        if client.view is None:
            return [*show_wire(wire), f"end: {how}"]
        lines = []
        for message in wire.messages:
            body = client.view(message.body.decode("latin-1"))
            lines += [*show_message(message, ""), *body.splitlines()]
        return [*lines, f"end: {how}"]

    def collect(self) -> None:
        """What upstreams and access log recorded, once all is over."""
        normalise = self.normalise
        everywhere: list[list[str]] = []
        for key, recorder in self.recorders.items():
            connections = []
            self.transcript.upstreams[key] = [seen.reader for seen in recorder.seen]
            for seen, end in zip(recorder.seen, recorder.freeze_ends(), strict=False):
                lines = [
                    "connection",
                    *("  " + normalise(line) for line in show_wire(seen.reader, recorder.script.view)),
                ]
                connections.append([*lines, f"  end: {self._told(end)}"] if self.case.upstream_end else lines)
            if self.case.flat_upstream:
                view = recorder.script.view
                messages = [
                    show_message(message, view(bytes(message.body)) if view is not None else None)
                    for seen in recorder.seen
                    for message in seen.reader.messages
                ]
                connections = [[normalise(line) for line in message] for message in messages]
            if self.case.sort_upstream or self.case.flat_upstream:
                connections.sort()
            if self.case.merge_upstreams:
                everywhere = sorted(everywhere + connections)
                self.transcript.sections["upstreams"] = [line for lines in everywhere for line in lines]
                continue
            self.transcript.sections[f"upstream {key}"] = [line for lines in connections for line in lines]
        log = self.directory / f"{self.case.name}.log"
        if self.case.compare_log and log.exists():
            rows = [normalise(row) for row in log.read_text("latin-1").splitlines()]
            rows = list(dict.fromkeys(rows)) if self.case.distinct_log else rows
            self.transcript.sections["access log"] = sorted(rows) if self.case.sort_log else rows

    def collect_stats(self, all_of_them: Statistics) -> None:
        if self.case.stats:
            words = {self.case.name, *map(str, self.ports)}
            lines = all_of_them.wanted(self.names.fill(self.case.stats), words)
            self.transcript.sections["stats"] = [self.normalise(line) for line in lines]


async def _open(client: Client, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if client.tls is None:
        return await asyncio.open_connection(client.host, port)
    return await asyncio.open_connection(
        client.host, port, ssl=client.tls(), server_hostname=client.server_name, ssl_handshake_timeout=5
    )


async def _until_quiet(peer: Peer, quiet: float, waiting: Waiting) -> None:
    """Until nothing has come for `quiet` seconds in which the program could have sent something.

    On a busy machine it may have got no CPU for a good part of that time: that part doesn't count, up to MOST_QUIET_S.
    """
    loop = asyncio.get_running_loop()
    seen, left, began = -1, 0.0, 0.0
    while not peer.end:
        if len(peer.received) != seen:
            seen, left, began = len(peer.received), quiet, loop.time()
        elif left < 0.05 or loop.time() - began > MOST_QUIET_S:
            return
        since, waited = loop.time(), waiting.seconds()
        await peer.until(partial(_more_than, peer, seen), left)
        elapsed = loop.time() - since
        left -= max(elapsed - (waiting.seconds() - waited), elapsed / 10)


def _more_than(peer: Peer, seen: int) -> bool:
    return len(peer.received) > seen


async def fetch(port: int, path: str) -> str:
    """The body of an admin answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
    wire = WireReader("response")
    wire.feed(await asyncio.wait_for(reader.read(-1), 30))
    wire.finish()
    writer.close()
    return wire.messages[0].body.decode("latin-1") if wire.messages else ""


class Session:
    """One process of `program` with the cases it serves: started, run and ended in three separate steps.

    Starting takes CPU and running takes patience, so the caller lets no session start while another one runs: times
    would tell how busy the machine was.
    """

    def __init__(self, program: str, cases: Sequence[Case]) -> None:
        self.program, self.cases = program, cases
        self.results: dict[str, Transcript] = {}
        self._placed: list[Placed] = []
        self._subject: Subject | None = None
        self._block: PortBlock | None = None
        self._statistics = ""
        self._directory = tempfile.TemporaryDirectory(prefix="parity-")

    async def start(self) -> list[Session]:
        """Start the program. Returns the sessions that take over the cases when their configuration is refused."""
        try:
            await self._start()
        except StartFailed as failure:
            await self.finish()
            self.results = {}
            if len(self.cases) == 1 or not isinstance(failure, Refused):
                self.results = {case.name: Transcript(error=str(failure)) for case in self.cases}
                return []
            culprits = _blamed(str(failure), self.cases)
            self.results = {case.name: Transcript(error=str(failure)) for case in culprits}
            rest = [case for case in self.cases if case not in culprits]
            half = len(rest) if culprits else len(rest) // 2
            return [Session(self.program, part) for part in (rest[:half], rest[half:]) if part]
        return []

    async def _start(self) -> None:
        directory = Path(self._directory.name)
        self._block = PortBlock()
        admin_port = self._block.take()
        self._placed = [Placed(case, directory, self._block, admin_port) for case in self.cases]
        for each in self._placed:
            await each.start()
        path = directory / "config.json"
        names = {each.case.name: each.names for each in self._placed}
        bootstrap.write(bootstrap.build(self.cases, names, admin_port), path)
        self._subject = Subject(self.program, directory, admin_port)
        await self._subject.start(path, self.cases[0].args)

    async def run(self) -> None:
        """Run all the cases at once."""
        subject = self._subject
        if subject is None or not subject.running:
            return
        await _run_cases(subject, self._placed)
        if not subject.running and not any(_ends_program(case) for case in self.cases):
            for each in self._placed:
                each.transcript.error = f"{self.program} died:\n{subject.output()}"
        await asyncio.sleep(0.25)  # the access log is flushed each 50 ms
        if subject.running and any(case.stats for case in self.cases):
            self._statistics = await fetch(subject.admin_port, "/stats")

    async def finish(self) -> None:
        if self._subject is not None:
            await self._subject.stop()
        statistics = Statistics(self._statistics)
        for each in self._placed:
            each.collect()
            each.collect_stats(statistics)
            self.results[each.case.name] = each.transcript
            for recorder in each.recorders.values():
                await recorder.stop()
        self._placed = []
        if self._block is not None:
            self._block.release()
        self._directory.cleanup()


def _blamed(message: str, group: Sequence[Case]) -> list[Case]:
    """The cases that an error message names through an index, as `listeners[3].filter_chains...`."""
    indices = {int(found) for found in re.findall(r"listeners\[(\d+)\]", message)}
    owners = [case for case in group for _ in range(1 + len(re.findall(r"(?m)^- name:", case.listeners)))]
    blamed = {owners[index].name: owners[index] for index in sorted(indices) if index < len(owners)}
    return list(blamed.values()) if len(blamed) < len(group) else []


def _ends_program(case: Case) -> bool:
    return any(isinstance(op, Signal | WaitExit) for client in case.all_clients() for op in client.ops)


async def _run_cases(subject: Subject, placed: Sequence[Placed]) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def run(number: int, each: Placed) -> None:
        await asyncio.sleep(number * APART_S)
        async with gate:
            try:
                await each.run(subject)
            except Exception as error:  # a fault of the case itself must show as that case's failure
                each.transcript.error = f"{type(error).__name__}: {error}"

    await asyncio.gather(*(run(number, each) for number, each in enumerate(placed)))
