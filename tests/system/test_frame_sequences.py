"""Random frames against both codecs, and against the whole program: nothing raises, hangs, or harms the next request.

What Envoy makes of the same sequences is compared by hand (`frames_differential`).
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path

import pytest

from meshproxy.codec.h2_client import Http2ClientCodec
from meshproxy.codec.sinks import NOBODY
from meshproxy.headers import RequestHeaders
from meshproxy.model.codec import Http2Options

from ..conformance.h2_rig import new_codec
from ..conformance.h2_wire import PREFACE, headers, request, settings
from ..fuzz import frames_rig
from ..fuzz.frames_differential import make
from ..fuzz.frames_rig import ClientLane, FrameUpstream, ServerLane, bootstrap
from ..fuzz.frames_seeds import client_frames, host_frames
from ..fuzz.wire_rig import LaneUpstream
from ..parity.subject import Subject
from .program import free_ports

LANES = 6
TRIALS = 120


@pytest.mark.parametrize("stream_errors", [False, True])
def test_server_codec(stream_errors: bool) -> None:
    options = Http2Options(override_stream_error_on_invalid_http_message=stream_errors)
    for number in range(600):
        codec, _ = new_codec(options)
        sent = PREFACE + settings() + b"".join(client_frames(random.Random(number)))
        for start in range(0, len(sent), 5000):
            codec.receive(sent[start : start + 5000])
            codec.take()
        assert codec.failed or codec.open_streams <= 4, number


@pytest.mark.parametrize("stream_errors", [False, True])
def test_client_codec(stream_errors: bool) -> None:
    options = Http2Options(override_stream_error_on_invalid_http_message=stream_errors)
    for number in range(600):
        codec = Http2ClientCodec(NOBODY, options, lambda: 1.0)
        sid = codec.send_request(RequestHeaders("GET", "/", "a.example", "http"), True)
        sent = settings() + b"".join(host_frames(random.Random(number), sid))
        for start in range(0, len(sent), 5000):
            codec.receive(sent[start : start + 5000])
            codec.take()
        assert codec.failed or codec.open_streams <= 1, number


async def _harmless(role: str, directory: Path) -> list[str]:
    """The trials that the program bore badly."""
    wrong = []
    upstreams: list[LaneUpstream | FrameUpstream] = []
    lanes: list[ServerLane | ClientLane] = []
    admin, *ports = free_ports(LANES + 1)
    for port in ports:
        upstream: LaneUpstream | FrameUpstream = LaneUpstream() if role == "client" else FrameUpstream()
        await upstream.open()
        upstreams.append(upstream)
        lane = ServerLane(port, upstream) if isinstance(upstream, LaneUpstream) else ClientLane(port, upstream)
        lanes.append(lane)
    config = directory / "config.json"
    pairs = [(port, upstream.port) for port, upstream in zip(ports, upstreams, strict=True)]
    config.write_text(bootstrap(pairs, admin, host=role == "host"))
    subject = Subject("meshproxy", directory, admin)
    await subject.start(config)
    plain = [headers(1, request(path="/direct"))]

    async def work(index: int) -> None:
        lane = lanes[index]
        for trial in make(role, 77, TRIALS)[index::LANES]:
            told = await lane.attempt(trial.frames, trial.request, 0.02)
            if role == "client":
                after = await lane.attempt(plain, b"", 0.02)
                served = after.streams == {1: "200+1 end"}
            else:
                # What the frames have left unfinished, the one connection may still be waiting for.
                served = told.probe != "[]" or not (told.pong or told.closed)
            if told.odd or not served:
                wrong.append(f"{trial}\n{told}")

    try:
        await asyncio.gather(*(work(index) for index in range(LANES)))
        output = subject.output()
    finally:
        await subject.stop()
        for upstream in upstreams:
            upstream.close()
    return [*wrong, output] if "Traceback" in output else wrong


@pytest.mark.parametrize("role", ["client", "host"])
def test_program(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_rig, "MOST_S", 1.0)
    with tempfile.TemporaryDirectory() as name:
        wrong = asyncio.run(_harmless(role, Path(name)))
    assert not wrong, "\n\n".join(wrong)
