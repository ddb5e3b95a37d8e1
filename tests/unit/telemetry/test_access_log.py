"""Buffering of log lines, and which streams are logged."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.telemetry import access_log_filters as filters
from meshproxy.telemetry.access_log import FLUSH_BYTES, LogBuffer


class File:
    def __init__(self) -> None:
        self.events: list[bytes | str] = []
        self.full = False

    def write(self, data: bytes) -> None:
        if self.full:
            raise OSError("no space left on device")
        self.events.append(data)

    def reopen(self) -> None:
        self.events.append("reopen")


def test_lines_are_written_in_one_call_when_flushed() -> None:
    file = File()
    buffer = LogBuffer(file)
    buffer.flush()
    buffer.write("a\n")
    buffer.write("\xe9\n")
    assert file.events == []
    buffer.flush()
    assert file.events == [b"a\n\xe9\n"]


def test_a_full_buffer_writes_itself() -> None:
    file = File()
    buffer = LogBuffer(file)
    for _ in range(FLUSH_BYTES // 1024 - 1):
        buffer.write("x" * 1024)
    assert not file.events
    buffer.write("x" * 1024)
    assert file.events == [b"x" * FLUSH_BYTES]
    buffer.write("y")
    assert len(file.events) == 1


def test_reopening_writes_to_the_old_file_first() -> None:
    file = File()
    buffer = LogBuffer(file)
    buffer.write("old\n")
    buffer.reopen()
    buffer.write("new\n")
    buffer.flush()
    assert file.events == [b"old\n", "reopen", b"new\n"]


def test_a_full_disk_loses_lines_and_counts_it() -> None:
    file = File()
    buffer = LogBuffer(file)
    file.full = True
    buffer.write("lost\n")
    buffer.flush()
    file.full = False
    buffer.write("kept\n")
    buffer.flush()
    assert (file.events, buffer.flushes, buffer.failures) == ([b"kept\n"], 2, 1)


def test_a_fact_in_unicode_is_logged_in_utf8() -> None:
    file = File()
    buffer = LogBuffer(file)
    buffer.write("\xe9→\n")
    buffer.flush()
    assert file.events == [b"\xe9\xe2\x86\x92\n"]


def stream(**facts: object) -> StreamInfo:
    info = StreamInfo()
    for name, value in facts.items():
        setattr(info, name, value)
    return info


@pytest.mark.parametrize(
    ("predicate", "facts", "logged"),
    [
        (filters.status_code("GE", 500), {"response_code": 503}, True),
        (filters.status_code("GE", 500), {"response_code": 404}, False),
        (filters.status_code("EQ", 0), {}, True),
        (filters.status_code("NE", 200), {"response_code": 200}, False),
        (filters.status_code("LE", 200), {"response_code": 201}, False),
        (filters.duration("GE", 100), {"start": 1.0, "end": 1.1}, True),
        (filters.duration("GE", 100), {"start": 1.0, "end": 1.0999}, False),
        (filters.not_health_check, {"health_check": True}, False),
        (filters.traceable, {"sampled": True}, True),
        (filters.traceable, {}, False),
        (filters.response_flag([]), {"flags": "UF"}, True),
        (filters.response_flag([]), {}, False),
        (filters.response_flag(["UF", "UH"]), {"flags": "URX,UF"}, True),
        (filters.response_flag(["UF"]), {"flags": "URX,UC"}, False),
        (filters.grpc_status([0], exclude=True), {"response": ResponseHeaders(200, [("grpc-status", "0")])}, False),
        (filters.grpc_status([14], exclude=False), {"response_code": 503}, True),
        (filters.log_type(["DownstreamEnd"], exclude=False), {"access_log_type": "DownstreamEnd"}, True),
        (filters.log_type(["DownstreamEnd"], exclude=True), {"access_log_type": "DownstreamEnd"}, False),
        (filters.metadata(["ns", "k"], lambda v: v == 1, match_if_absent=True), {}, True),
        (filters.metadata(["ns", "k"], lambda v: v == 1, True), {"dynamic_metadata": {"ns": {"k": 2}}}, False),
        (filters.header(lambda request: request.method == "GET"), {"request": RequestHeaders("GET")}, True),
        (filters.header(lambda request: True), {}, False),
    ],
)
def test_predicates(predicate: Callable[[StreamInfo], bool], facts: dict[str, object], logged: bool) -> None:
    assert predicate(stream(**facts)) is logged


def test_all_of_and_any_of() -> None:
    slow, broken = filters.duration("GE", 100), filters.status_code("GE", 500)
    info = stream(response_code=500)
    assert filters.any_of([slow, broken])(info)
    assert not filters.all_of([slow, broken])(info)
    assert filters.all_of([broken, filters.not_health_check])(info)


def test_a_fraction_follows_the_request_id() -> None:
    predicate = filters.fraction(50, 100, independent=False, randrange=lambda below: 99)
    by_id = [
        predicate(stream(request=RequestHeaders(fields=[("x-request-id", f"{number:08x}-0000")])))
        for number in (49, 50, 149, 150)
    ]
    assert by_id == [True, False, True, False]
    assert not predicate(stream(request=RequestHeaders(fields=[("x-request-id", "mine")])))


def test_an_independent_fraction_draws() -> None:
    predicate = filters.fraction(25, 100, independent=True, randrange=random.Random(7).randrange)
    request = RequestHeaders(fields=[("x-request-id", "00000000-0000")])
    logged = sum(predicate(stream(request=request)) for _ in range(4000))
    assert 900 < logged < 1100


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no response flag 'XX'"):
        filters.response_flag(["UF", "XX"])
    with pytest.raises(ValueError, match="EQ, GE, LE, NE"):
        filters.status_code("GT", 1)
