"""Health checks over HTTP/2: what is asked, and what each answer says."""

from __future__ import annotations

import pytest

from meshproxy.codec.grpc_messages import frame_message
from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.model.codec import Http2Options
from meshproxy.model.health_check import GrpcCheck, HttpCheck
from meshproxy.runtime.upstream.health.health_probes import Verdict
from meshproxy.runtime.upstream.health.health_probes_http2 import GrpcProbe, Http2Probe, HttpProbe2, serving_status
from tests.unit.upstream.test_http2_pool import HostSide

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


def asked(probe: Http2Probe) -> HostSide:
    side = HostSide(Http2Options())
    side.connection = probe
    probe.connection_made(side)
    side.say()
    return side


def grpc(verdicts: list[Verdict], check: GrpcCheck = GrpcCheck("my.Service")) -> HostSide:  # noqa: B008  # it is frozen
    return asked(GrpcProbe(check, "a.b", 1.5, Http2Options(), lambda: 0.0, verdicts.append))


def reply(side: HostSide, message: bytes, status: str = "0", sid: int = 1) -> None:
    side.codec.send_response(sid, ResponseHeaders(200, (("content-type", "application/grpc"),)), False)
    side.codec.send_data(sid, frame_message(message), False)
    side.codec.send_trailers(sid, Headers((("grpc-status", status),)))
    side.say()


def test_what_the_health_service_is_asked() -> None:
    side = grpc([])
    head = side.heads[1]
    assert (head.method, head.path, head.authority) == ("POST", "/grpc.health.v1.Health/Check", "a.b")
    assert list(head.items()) == [
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "Envoy/HC"),
        ("grpc-timeout", "1500m"),
    ]
    assert side.bodies[1] == b"\0\0\0\0\x0c\x0a\x0amy.Service"
    assert 1 in side.ended
    assert grpc([], GrpcCheck()).bodies[1] == b"\0\0\0\0\0"  # about the server as a whole


@pytest.mark.parametrize(
    ("message", "status", "verdict"),
    [
        (SERVING, "0", Verdict.WELL),
        (NOT_SERVING, "0", Verdict.ILL),
        (b"", "0", Verdict.ILL),
        (b"\x08\x03", "0", Verdict.ILL),
        (b"\xff\xff\xff", "0", Verdict.ILL),
        (SERVING, "12", Verdict.ILL),
        (SERVING, "nonsense", Verdict.ILL),
    ],
)
def test_what_it_says(message: bytes, status: str, verdict: Verdict) -> None:
    verdicts: list[Verdict] = []
    reply(grpc(verdicts), message, status)
    assert verdicts == [verdict]


def test_garbage_and_an_answer_without_trailers_are_no_health() -> None:
    """CVE-2022-29224 and what is like it."""
    for body in (b"", b"\1\0\0\0\2\x08\x01", b"\0\xff\xff\xff\xff", frame_message(SERVING) * 2, b"<html>"):
        verdicts: list[Verdict] = []
        side = grpc(verdicts)
        side.codec.send_response(1, ResponseHeaders(200, (("grpc-status", "0"),)), False)
        side.codec.send_data(1, body, True)
        side.say()
        assert verdicts == [Verdict.ILL]


def test_one_connection_serves_many_checks_until_it_goes_away() -> None:
    verdicts: list[Verdict] = []
    side = grpc(verdicts)
    probe = side.connection
    reply(side, SERVING)
    assert probe.reusable
    probe.ask()
    assert side.heads[3].path == side.heads[1].path
    side.codec.goaway(3)
    reply(side, SERVING, sid=3)
    assert verdicts == [Verdict.WELL, Verdict.WELL]
    assert not probe.reusable


def test_resets_and_broken_connections() -> None:
    verdicts: list[Verdict] = []
    side = grpc(verdicts)
    side.codec.reset_stream(1, 8)
    side.say()
    grpc(verdicts).connection.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    grpc(verdicts).connection.connection_lost(None)
    assert verdicts == [Verdict.NETWORK] * 3


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [(200, b"all is well", Verdict.WELL), (200, b"no", Verdict.ILL), (503, b"well", Verdict.ILL)],
)
def test_a_path(status: int, body: bytes, verdict: Verdict) -> None:
    verdicts: list[Verdict] = []
    check = HttpCheck("/health", receive=(b"well",), http2=True)
    side = asked(HttpProbe2(check, "h", Http2Options(), lambda: 0.0, verdicts.append))
    assert (side.heads[1].method, side.heads[1].path, side.heads[1]["user-agent"]) == ("GET", "/health", "Envoy/HC")
    side.answer(1, body, status)
    assert verdicts == [verdict]
    assert side.connection.reusable


def test_numbers_of_the_status() -> None:
    assert [serving_status(message) for message in (b"", SERVING, b"\x08\x80", b"\x10\x01", b"\x08")] == [
        0,
        1,
        -1,
        -1,
        -1,
    ]
