"""The same random frames to Envoy and to meshproxy, and what they made of them: run by hand.

    python -m tests.fuzz.frames_differential [--seed 1] [--client 2000] [--host 1000] [--examples 2] [--only KIND]

`--client`: so many sequences from a client; `--host`: so many from an upstream. Prints one line for each kind of
difference with how often it was seen, and examples, cut down to the frames that matter. What docs/differences.md
declares shows up too; to be looked at is what is more permissive than Envoy (MORE, alive), and what hangs.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ..parity.subject import Subject
from ..system.program import free_ports
from .frames_rig import VARIANTS, ClientLane, FrameUpstream, ServerLane, Told, bootstrap
from .frames_seeds import Frames, client_frames, host_frames
from .wire_rig import LaneUpstream

LANES = 4 * len(VARIANTS)
_NAMES = ("DATA", "HEADERS", "PRIORITY", "RST", "SETTINGS", "PUSH", "PING", "GOAWAY", "WINDOW", "CONTINUATION")
_REQUESTS = (
    b"GET /a HTTP/1.1\r\nhost: a.example\r\n\r\n",
    b"GET /a HTTP/1.1\r\nhost: a.example\r\n\r\n",
    b"HEAD /a HTTP/1.1\r\nhost: a.example\r\n\r\n",
    b"POST /a HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\n\r\nhello",
    b"POST /a HTTP/1.1\r\nhost: a.example\r\ncontent-type: application/grpc\r\nte: trailers\r\n"
    b"content-length: 5\r\n\r\n\0\0\0\0\0",
    b"POST /a HTTP/1.1\r\nhost: a.example\r\ncontent-length: 10\r\n\r\nhello",
    b"GET /a HTTP/1.1\r\nhost: a.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
)


@dataclass(slots=True)
class Trial:
    """frames: what is sent. request: what a client of the client's role asks."""

    number: int
    frames: Frames
    request: bytes = b""

    def __str__(self) -> str:
        lines = [f"{self.number} (variant {self.number % len(VARIANTS)}) {self.request!r}"]
        for each in self.frames:
            name = _NAMES[each[3]] if each[3] < len(_NAMES) else str(each[3])
            sid = int.from_bytes(each[5:9], "big")
            text = each[9:] if len(each) < 400 else each[9:200] + b"..."
            lines.append(f"      {name} flags={each[4]} sid={sid} len={int.from_bytes(each[:3], 'big')} {text!r}")
        return "\n".join(lines)


def make(role: str, seed: int, count: int) -> list[Trial]:
    """The trials of a seed; any of them can be made again alone."""
    trials = []
    for number in range(count):
        rng = random.Random(f"{role} {seed} {number}")
        if role == "client":
            trials.append(Trial(number, client_frames(rng)))
        else:
            trials.append(Trial(number, host_frames(rng, 1), rng.choice(_REQUESTS)))
    return trials


class Programs:
    """Both programs with their lanes; `attempt` gives a trial to both at once. crashes: trials that ended Envoy."""

    def __init__(self, lanes: dict[str, list[ServerLane | ClientLane]], envoy: Subject, config: Path) -> None:
        self.crashes: list[Trial] = []
        self._envoy = envoy
        self._config = config
        self._starting = asyncio.Lock()
        self._free = {
            variant: asyncio.Queue[tuple[ServerLane | ClientLane, ServerLane | ClientLane]]()
            for variant in range(len(VARIANTS))
        }
        for number, pair in enumerate(zip(lanes["meshproxy"], lanes["envoy"], strict=True)):
            self._free[number % len(VARIANTS)].put_nowait(pair)

    async def attempt(self, trial: Trial, quiet: float) -> tuple[Told, Told]:
        """What meshproxy and Envoy made of it."""
        queue = self._free[trial.number % len(VARIANTS)]
        pair = await queue.get()
        try:
            mine, theirs = await asyncio.gather(*(lane.attempt(trial.frames, trial.request, quiet) for lane in pair))
            return mine, theirs
        except ConnectionRefusedError:
            self.crashes.append(trial)
            async with self._starting:
                if not self._envoy.running:
                    await self._envoy.start(self._config)
            return Told(), Told()
        finally:
            queue.put_nowait(pair)


@asynccontextmanager
async def programs(role: str) -> AsyncIterator[Programs]:
    lanes: dict[str, list[ServerLane | ClientLane]] = {"meshproxy": [], "envoy": []}
    subjects, upstreams = [], []
    with tempfile.TemporaryDirectory() as name:
        for program, those in lanes.items():
            directory = Path(name, program)
            directory.mkdir()
            admin, *ports = free_ports(LANES + 1)
            pairs = []
            for port in ports:
                upstream: LaneUpstream | FrameUpstream = LaneUpstream() if role == "client" else FrameUpstream()
                await upstream.open()
                upstreams.append(upstream)
                pairs.append((port, upstream.port))
                if isinstance(upstream, LaneUpstream):
                    those.append(ServerLane(port, upstream))
                else:
                    those.append(ClientLane(port, upstream))
            config = directory / "config.json"
            config.write_text(bootstrap(pairs, admin, host=role == "host"))
            subject = Subject(program, directory, admin)
            subjects.append(subject)
            await subject.start(config)
        try:
            yield Programs(lanes, subjects[-1], config)
        finally:
            for subject in subjects:
                await subject.stop()
            for upstream in upstreams:
                upstream.close()
            for program in lanes:
                output = Path(name, program, "output.txt").read_text(errors="replace").splitlines()
                for line, times in collections.Counter(line[-600:] for line in output).most_common(5):
                    print(f"--- {program} printed {times} x {line}")


def differences(mine: Told, theirs: Told) -> list[str]:
    """Kinds of difference; what only one of them could still say because it was faster isn't one."""
    found = [f"ODD {odd}" for odd in mine.odd if odd not in theirs.odd]
    more = collections.Counter(mine.passed) - collections.Counter(theirs.passed)
    less = collections.Counter(theirs.passed) - collections.Counter(mine.passed)
    if more and theirs.closed and not mine.closed:
        pass  # what Envoy's connection took with it; that it's closed is said below
    elif more:
        found.append("MORE passed on" if len(mine.passed) > len(theirs.passed) else "passed on other bytes")
    elif less and not mine.closed:
        found.append("passed on less")
    if mine.closed != theirs.closed:
        resets = sorted({text.rpartition("reset ")[2] for text in mine.streams.values() if "reset" in text})
        how = f"alive, resets {resets}" if not mine.closed else f"closed {mine.goaways}"
        found.append(f"{how}, but Envoy is {'closed' if theirs.closed else 'alive'}")
    elif not mine.closed:
        if mine.pong != theirs.pong:
            found.append("HANGS: no answer to PING" if theirs.pong else "an answer to PING, but none of Envoy")
        for sid in {*mine.streams, *theirs.streams}:
            one, other = mine.streams.get(sid, "nothing"), theirs.streams.get(sid, "nothing")
            if one != other:
                found.append(f"stream is {one!r}, but Envoy's {other!r}")
    if mine.probe != theirs.probe:
        found.append(f"probe {mine.probe}, but Envoy's {theirs.probe}")
    return found


async def shorten(both: Programs, trial: Trial, kind: str) -> Trial:
    """The trial without the frames that the difference doesn't need."""
    frames = list(trial.frames)
    where = 0
    while where < len(frames) and len(frames) > 1:
        fewer = Trial(trial.number, frames[:where] + frames[where + 1 :], trial.request)
        if kind in differences(*await both.attempt(fewer, 0.3)):
            frames = fewer.frames
        else:
            where += 1
    return Trial(trial.number, frames, trial.request)


async def compare(role: str, trials: list[Trial], examples: int, only: str) -> None:
    kinds: dict[str, list[Trial]] = collections.defaultdict(list)
    async with programs(role) as both:

        async def judge(trial: Trial) -> None:
            quiet = 0.08
            found = differences(*await both.attempt(trial, quiet))
            for quiet in (0.25, 0.5):  # only what is seen again, with more patience, counts
                if found:
                    found = [kind for kind in differences(*await both.attempt(trial, quiet)) if kind in found]
            for kind in found:
                kinds[kind].append(trial)

        room = asyncio.Semaphore(LANES)

        async def in_turn(trial: Trial) -> None:
            async with room:
                await judge(trial)

        await asyncio.gather(*(in_turn(trial) for trial in trials))
        print(f"=== {len(trials)} sequences of a {role}: {len({t.number for k in kinds.values() for t in k})} differ")
        if both.crashes:
            print(f"Envoy ended {len(both.crashes)} times, first around {both.crashes[0]}")
        for kind, where in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
            print(f"\n## {len(where)} x {kind}")
            for trial in where[:examples] if only in kind else ():
                short = await shorten(both, trial, kind)
                mine, theirs = await both.attempt(short, 0.3)
                print(f"    {short}\n      meshproxy {mine}\n      envoy     {theirs}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--client", type=int, default=2000)
    parser.add_argument("--host", type=int, default=1000)
    parser.add_argument("--examples", type=int, default=1)
    parser.add_argument("--only", default="", help="examples of those kinds alone that have this in them")
    options = parser.parse_args()
    for role, count in (("client", options.client), ("host", options.host)):
        if count:
            asyncio.run(compare(role, make(role, options.seed, count), options.examples, options.only))


if __name__ == "__main__":
    main()
