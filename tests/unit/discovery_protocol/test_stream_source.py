"""The stream of a management server: opened, lost, opened again, limited. No sockets, and time passes when told."""

from __future__ import annotations

import gc
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from meshproxy.model.discovery import CLUSTER, ENDPOINTS, ConfigSource
from meshproxy.model.grpc_service import ApiSource, GrpcService
from meshproxy.runtime.discovery.pace import Pace
from meshproxy.runtime.discovery.remote import RemoteSources
from meshproxy.runtime.discovery.sources import Host
from meshproxy.runtime.discovery.unknown_fields import UnknownFields
from meshproxy.telemetry.stats import StatsStore
from meshproxy.testing.environment import RecordingLog
from meshproxy.testing.loop import SteppedClock
from tests.discovery.ads_server import told
from tests.unit.discovery_protocol.talk import RecordingSink, endpoints


@dataclass
class Call:
    """One stream. sent: the requests, one line each."""

    path: str
    sink: Any
    sent: list[str] = field(default_factory=list)
    was_reset: bool = False
    reading: list[bool] = field(default_factory=list)

    def send(self, message: bytes) -> None:
        kind = "Delta" if "Delta" in self.path else ""
        request = getattr(discovery_pb2, f"{kind}DiscoveryRequest")()
        request.ParseFromString(message)
        self.sent.append(told(request))

    def read_disable(self, disable: bool) -> None:
        self.reading.append(not disable)

    def reset(self) -> None:
        self.was_reset = True


class Rig:
    """A host, a network that does what the test says, and the streams that were opened."""

    def __init__(self, *, reachable: bool = True) -> None:
        self.clock = SteppedClock()
        self.log = RecordingLog()
        self.store = StatsStore()
        self.calls: list[Call] = []
        self.tries: list[float] = []
        self.reachable = reachable
        self.host = Host(
            self.clock.loop,
            self.clock,
            random.Random(3),
            self.log,
            base_pb2.Node(id="me"),
            {},
            self.store.scope(""),
            UnknownFields(self.store.scope("").counter("server.dynamic_unknown_fields"), self.log),
        )

    def open(self, host: Any, service: GrpcService, path: str, sink: Any) -> Call | None:
        self.tries.append(self.clock.now())
        if not self.reachable:
            return None
        self.calls.append(Call(path, sink))
        return self.calls[-1]

    def ads(self, **options: Any) -> Any:
        options = {"kind": "grpc", "cluster": "ads", "grpc": GrpcService("ads", "ads"), "node_once": True, **options}
        return RemoteSources(ApiSource(**options), self.open)(ConfigSource("ads"), self.host)

    def statistic(self, name: str) -> int:
        return int(self.store.scope("").gauge(f"control_plane.{name}").value)


def _endpoints(name: str, version: str, nonce: str) -> bytes:
    response = discovery_pb2.DiscoveryResponse(type_url=ENDPOINTS, version_info=version, nonce=nonce)
    response.resources.add().Pack(endpoints(name))
    return response.SerializeToString()


def test_first_subscription_opens_the_one_stream() -> None:
    rig = Rig()
    source, sink = rig.ads(), RecordingSink()
    assert rig.calls == []
    source.subscribe(ENDPOINTS, ["a"], sink)
    source.subscribe(CLUSTER, (), RecordingSink())
    [call] = rig.calls
    assert call.path == "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
    assert call.sent == ["EDS - - [a]", "CDS - - []"]
    call.sink.on_message(_endpoints("a", "v1", "n1"))
    rig.clock.advance(0)
    assert sink.told == ["v1: +a@v1"]
    assert call.sent[2:] == ["EDS v1 n1 [a]"]
    assert rig.statistic("connected_state") == 1
    source.close()
    assert call.was_reset


def test_lost_stream_is_opened_again_later_and_later_until_a_response_comes() -> None:
    rig = Rig()
    source, sink = rig.ads(), RecordingSink()
    source.subscribe(ENDPOINTS, ["a"], sink)
    rig.calls[0].sink.on_message(_endpoints("a", "v1", "n1"))
    rig.calls[0].sink.on_closed(14, "gone")
    assert rig.statistic("connected_state") == 0
    rig.reachable = False
    rig.clock.advance(400)
    gaps = [later - earlier for earlier, later in zip(rig.tries, rig.tries[1:], strict=False)][1:]
    bounds = [0.5 * 2 ** (number + 1) for number in range(len(gaps))]
    assert all(0 < gap <= min(bound, 30.0) for gap, bound in zip(gaps, bounds, strict=True)), gaps
    assert len(gaps) > 15
    assert max(gaps) > 15, "it grows"
    events = [event for level, event, _ in rig.log.events if level == "warning"]
    assert len(events) == 2, "one line for each trouble, not for each try"
    rig.reachable = True
    rig.clock.advance(31)
    assert rig.calls[1].sent == ["EDS v1 - [a]"]
    assert sink.told == ["v1: +a@v1", *["connection"] * (len(rig.tries) - 1)]
    rig.calls[1].sink.on_message(_endpoints("a", "v2", "n1"))
    rig.calls[1].sink.on_closed(14, "gone")
    rig.clock.advance(0.5)
    assert len(rig.calls) == 3, "the back-off begins anew"
    source.close()


def test_what_is_no_response_ends_the_stream() -> None:
    rig = Rig()
    source = rig.ads()
    source.subscribe(ENDPOINTS, ["a"], RecordingSink())
    rig.calls[0].sink.on_message(b"\xff\xff")
    rig.clock.advance(0)
    assert rig.calls[0].was_reset
    rig.clock.advance(0.5)
    assert rig.calls[1].sent == ["EDS - - [a]"]
    source.close()


def test_requests_are_limited() -> None:
    rig = Rig()
    source = rig.ads(max_requests=2, fill_rate=1.0)
    for name in ("a", "b", "c", "d"):
        source.subscribe(ENDPOINTS, [name], RecordingSink())
    [call] = rig.calls
    assert call.sent == ["EDS - - [a]", "EDS - - [a b]"]
    assert rig.statistic("pending_requests") == 2
    assert rig.store.scope("").counter("control_plane.rate_limit_enforced").value == 1
    rig.clock.advance(2)
    assert call.sent[2:] == ["EDS - - [a b c d]"] * 2
    assert rig.statistic("pending_requests") == 0
    source.close()


def test_time_to_live_passes_on_the_loop() -> None:
    rig = Rig()
    source, sink = rig.ads(kind="delta_grpc"), RecordingSink()
    source.subscribe(ENDPOINTS, ["a"], sink)
    response = discovery_pb2.DeltaDiscoveryResponse(type_url=ENDPOINTS, system_version_info="v1", nonce="n1")
    entry = response.resources.add(name="a", version="v1")
    entry.resource.Pack(endpoints("a"))
    entry.ttl.seconds = 3
    rig.calls[0].sink.on_message(response.SerializeToString())
    rig.clock.advance(2)
    del response.resources[0]
    heartbeat = response.resources.add(name="a", version="v1")
    heartbeat.ttl.seconds = 3
    rig.calls[0].sink.on_message(response.SerializeToString())
    rig.clock.advance(2.9)
    assert sink.told == ["v1: +a@v1"]
    rig.clock.advance(0.2)
    assert sink.told == ["v1: +a@v1", "-: -a"]
    source.close()


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("grpc", "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints"),
        ("delta_grpc", "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints"),
    ],
)
def test_single_type_has_a_stream_for_each_subscription(kind: str, path: str) -> None:
    rig = Rig()
    api = ApiSource(kind, "ads", GrpcService("ads", "ads"))
    source = RemoteSources(None, rig.open)(ConfigSource("api", api=api), rig.host)
    first, second = RecordingSink(), RecordingSink()
    subscription = source.subscribe(ENDPOINTS, ["a"], first)  # type: ignore[arg-type]  # a sink of any resource
    source.subscribe(ENDPOINTS, ["b"], second)  # type: ignore[arg-type]  # a sink of any resource
    assert [call.path for call in rig.calls] == [path, path]
    subscription.close()
    assert [call.was_reset for call in rig.calls] == [True, False]
    source.close()
    assert [call.was_reset for call in rig.calls] == [True, True]
    rig.clock.advance(100)
    assert len(rig.calls) == 2


def test_flood_is_used_bit_by_bit_and_the_server_has_to_wait() -> None:
    rig = Rig()
    source = rig.ads()
    slow = RecordingSink(then=lambda: rig.host.clock._time.advance(0.0004))  # type: ignore[attr-defined]  # work takes time, no timer fires
    rig.host.pace = Pace(rig.clock.now, lambda: True)
    source.subscribe(ENDPOINTS, ["a"], slow)
    [call] = rig.calls
    for number in range(100):
        call.sink.on_message(_endpoints("a", f"v{number}", f"n{number}"))
    assert call.reading == [False]
    rig.clock.advance(0)
    assert len(slow.told) == 3, "three of them fill a slice"
    rig.clock.advance(0.0011)
    assert len(slow.told) == 3, "and the traffic has as long"
    rig.clock.advance(0.0002)
    assert len(slow.told) == 6
    rig.clock.advance(2)
    assert [line.split(":")[0] for line in slow.told] == [f"v{number}" for number in range(100)]
    assert call.reading == [False, True]
    assert call.sent[-1] == "EDS v99 n99 [a]"
    source.close()


def _many(names: list[str], version: str, nonce: str) -> bytes:
    response = discovery_pb2.DiscoveryResponse(type_url=ENDPOINTS, version_info=version, nonce=nonce)
    for name in names:
        response.resources.add().Pack(endpoints(name))
    return response.SerializeToString()


def test_large_response_is_used_in_slices_and_answered_once_at_its_end() -> None:
    rig = Rig()
    source = rig.ads()
    rig.host.pace = Pace(rig.clock.now, lambda: True)
    names = [f"c{number}" for number in range(300)]
    told: list[str] = []
    for name in names:
        sink = RecordingSink(then=lambda: rig.host.clock._time.advance(0.001))  # type: ignore[attr-defined]  # work takes time, no timer fires
        sink.told = told
        source.subscribe(ENDPOINTS, [name], sink)
    [call] = rig.calls
    asked = len(call.sent)
    was_collecting = gc.isenabled()
    call.sink.on_message(_many(names, "v1", "n1"))
    rig.clock.advance(0)
    assert 0 < len(told) <= 5, "a slice of it"
    assert not gc.isenabled(), "what is made of it isn't looked through meanwhile"
    # Those behind it wait, and so does the end of the stream.
    call.sink.on_message(_many(names[:1], "v2", "n2"))
    call.sink.on_closed(14, "gone")
    assert "connection" not in told
    assert len(rig.calls) == 1
    rig.clock.advance(1.6)
    assert told[:300] == ["v1: +" + f"{name}@v1" for name in names]
    assert told[300] == "v2: +c0@v2"
    assert set(told[301:]) == {"connection"}
    assert gc.isenabled() == was_collecting
    assert len(call.sent) == asked, "nobody is left to answer"
    rig.clock.advance(1)
    assert rig.calls[1].sent[0].startswith("EDS v2 - [c0 ")
    source.close()


def test_source_that_is_closed_within_a_response_uses_no_more_of_it() -> None:
    rig = Rig()
    source = rig.ads()
    rig.host.pace = Pace(rig.clock.now, lambda: True)
    names = [f"c{number}" for number in range(300)]
    told: list[str] = []
    for name in names:
        sink = RecordingSink(then=lambda: rig.host.clock._time.advance(0.001))  # type: ignore[attr-defined]  # work takes time, no timer fires
        sink.told = told
        source.subscribe(ENDPOINTS, [name], sink)
    was_collecting = gc.isenabled()
    rig.calls[0].sink.on_message(_many(names, "v1", "n1"))
    rig.clock.advance(0)
    source.close()
    seen = len(told)
    rig.clock.advance(5)
    assert len(told) == seen < 300
    assert gc.isenabled() == was_collecting


def test_without_traffic_nothing_waits() -> None:
    rig = Rig()
    source = rig.ads()
    slow = RecordingSink(then=lambda: rig.host.clock._time.advance(0.0015))  # type: ignore[attr-defined]  # work takes time, no timer fires
    rig.host.pace = Pace(rig.clock.now, lambda: False)
    source.subscribe(ENDPOINTS, ["a"], slow)
    for number in range(30):
        rig.calls[0].sink.on_message(_endpoints("a", f"v{number}", f"n{number}"))
    rig.clock.advance(0)
    assert len(slow.told) == 30
    source.close()
