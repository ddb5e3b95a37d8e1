"""Spoilt messages through the whole program: nothing malformed comes out, nothing hangs, is left, or raises.

What Envoy does with the same messages is compared by hand: see `wire_differential`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..fuzz import wire_seeds
from ..fuzz.wire_rig import Lane, LaneUpstream, Outcome, bootstrap
from .abuse_rig import Rig
from .program import Program, free_ports, serving

_LANES = 8
_QUIET_S = 0.04
_GROWTH_BYTES = 25_000_000


@contextlib.asynccontextmanager
async def _lanes(directory: Path, mesh: bool) -> AsyncIterator[tuple[Program, list[Lane]]]:
    upstreams = [LaneUpstream() for _ in range(_LANES)]
    for upstream in upstreams:
        await upstream.open()
    admin, *ports = free_ports(_LANES + 1)
    lanes = [Lane(port, upstream) for port, upstream in zip(ports, upstreams, strict=True)]
    config = bootstrap([(lane.port, lane.upstream.port) for lane in lanes], admin, mesh=mesh)
    try:
        async with serving(directory, config, lanes[0].port, admin, "-l", "warning") as program:
            yield program, lanes
    finally:
        for upstream in upstreams:
            upstream.close()


def _is_head_request(pieces: list[bytes]) -> bool:
    """Whose answers can be read only by who knows which of the requests were taken."""
    data = b"".join(pieces)
    return b"HEAD" in data or b"CONNECT" in data


def _complaints(outcome: Outcome, pieces: list[bytes]) -> list[str]:
    """What must not be. A message cut short where its other side failed is no malformed one."""
    whose = ("upstream saw",) if _is_head_request(pieces) else ("upstream saw", "client saw")
    return [odd for odd in outcome.anomalies if odd.startswith(whose) and "ends inside a message" not in odd]


@pytest.mark.parametrize("mesh", [False, True], ids=["plain", "mesh"])
async def test_spoilt_messages(tmp_path: Path, mesh: bool) -> None:
    rng = random.Random(20 + mesh)
    requests, responses = wire_seeds.request_seeds(), wire_seeds.response_seeds()
    async with _lanes(tmp_path, mesh) as (program, lanes):
        wrong: list[object] = []

        async def work(lane: Lane, count: int) -> None:
            for _ in range(count):
                pieces = wire_seeds.segments(rng, wire_seeds.mutate(rng, rng.choice(requests), "request"))
                outcome = await lane.try_request([piece for piece in pieces if piece], _QUIET_S)
                wrong.extend((complaint, pieces) for complaint in _complaints(outcome, pieces))
                ask = rng.choice(wire_seeds.RESPONSE_REQUESTS)
                script = wire_seeds.segments(rng, wire_seeds.mutate(rng, rng.choice(responses), "response"))
                outcome = await lane.try_response(ask, script, rng.random() < 0.4, _QUIET_S)
                wrong.extend((complaint, ask, script) for complaint in _complaints(outcome, [ask]))
                probe = outcome.answers[1].messages
                own = len(probe) == 1 and probe[0].status == 200 and probe[0].body == b"probe"
                if not own and not (probe and probe[0].status in (502, 503)):
                    wrong.append(("the probe's answer", ask, script, probe))

        await asyncio.gather(*(work(lane, 5) for lane in lanes))
        before = program.resident()
        await asyncio.gather(*(work(lane, 17) for lane in lanes))
        assert not wrong, f"{len(wrong)}: {wrong[:3]}"
        rig = Rig(program, None)  # type: ignore[arg-type]  # its own upstream isn't asked
        await rig.settled()
        assert rig.complaints() == []
        assert program.resident() - before < _GROWTH_BYTES
