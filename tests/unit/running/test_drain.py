"""When responses announce the end, and which connections a drain closes."""

from __future__ import annotations

import random
from unittest.mock import Mock

from meshproxy.address import SocketAddress
from meshproxy.model.listener import Listener
from meshproxy.model.snapshot import Node
from meshproxy.runtime.drain import Drain, close_idle
from meshproxy.runtime.worker import Worker


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def share(drain: Drain, direction: str = "UNSPECIFIED") -> float:
    return sum(drain.closes(direction) for _ in range(2000)) / 2000


def test_gradual_drain_announces_more_and_more_often() -> None:
    time = Time()
    drain = Drain(time, random.Random(1))
    assert (drain.active, share(drain)) == (False, 0)
    drain.begin(10, immediate=False)
    assert drain.active
    assert share(drain) == 0
    time.now += 3
    assert 0.25 < share(drain) < 0.35
    time.now += 5
    assert 0.75 < share(drain) < 0.85
    time.now += 2
    assert share(drain) == 1


def test_immediate_drain_announces_always() -> None:
    drain = Drain(Time(), random.Random(1))
    drain.begin(10, immediate=True)
    assert share(drain) == 1


def test_inbound_only_until_widened() -> None:
    drain = Drain(Time(), random.Random(1))
    drain.begin(10, immediate=True, inbound_only=True)
    assert (share(drain, "INBOUND"), share(drain, "OUTBOUND"), share(drain)) == (1, 0, 0)
    drain.begin(10, immediate=False)
    assert share(drain, "OUTBOUND") == 1


def test_a_drain_of_no_time_announces_always() -> None:
    drain = Drain(Time(), random.Random(1))
    drain.begin(0, immediate=False)
    assert share(drain) == 1


class FakeConnection:
    def __init__(self, *, busy: bool = False, started: float = 0.0, closed: bool = False) -> None:
        self.busy = busy
        self.started = started
        self.closed = closed
        self.descriptor = -1
        self.closes = 0
        self.announced = False

    def announce_end(self) -> None:
        self.announced = True

    def close(self) -> None:
        self.closes += 1

    def cut_off(self) -> None: ...


def test_only_idle_connections_are_closed() -> None:
    idle, busy, young, gone = (
        FakeConnection(),
        FakeConnection(busy=True),
        FakeConnection(started=99.5),
        FakeConnection(closed=True),
    )
    close_idle([idle, busy, young, gone], 100.0)
    assert [connection.closes for connection in (idle, busy, young, gone)] == [1, 0, 0, 0]
    assert [connection.announced for connection in (idle, busy, young, gone)] == [True, True, True, False]
    close_idle([young], 101.0)
    assert young.closes == 1


def test_a_listener_that_drains_only_when_changed_ignores_failed_health() -> None:
    loop = Mock(time=lambda: 0.0)
    worker = Worker(loop, stats=Mock(), access_logs=Mock(), log=Mock(), rng=Mock(), node=Node())
    always, changed = (
        Mock(listener=Listener("l", SocketAddress("127.0.0.1", 1), drains_only_when_changed=only), leaving=None)
        for only in (False, True)
    )
    worker.health_failed = True
    assert (worker.closes(always), worker.closes(changed)) == (True, False)
    worker.drain.begin(0.0, immediate=True)
    assert worker.closes(changed)
