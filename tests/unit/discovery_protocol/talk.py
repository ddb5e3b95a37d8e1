"""A mux with a server that is a test, and sinks that remember: no stream, no clock, no waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError as ParseError
from google.protobuf.message import Message

from meshproxy.messages.by_name import message_class
from meshproxy.model.discovery import CLUSTER, ENDPOINTS, LISTENER, Resource
from meshproxy.steps import Steps, finish
from meshproxy.telemetry.stats import StatsStore
from meshproxy.testing.environment import RecordingLog
from meshproxy.xds.delta import DeltaMux
from meshproxy.xds.mux import Mux
from meshproxy.xds.sotw import SotwMux
from meshproxy.xds.watch import DecodeError, Unpacked
from tests.discovery.ads_server import told

_LABELS = {CLUSTER: "CDS", ENDPOINTS: "EDS", LISTENER: "LDS"}


def cluster(name: str) -> Message:
    return cluster_pb2.Cluster(name=name)


def listener(name: str) -> Message:
    return listener_pb2.Listener(name=name)


def endpoints(name: str) -> Message:
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=name)


def decode(type_url: str, packed: bytes) -> Steps[Unpacked]:
    """What is no message is refused; so is one that is named "broken"."""
    kind = message_class(type_url.rpartition("/")[2])
    assert kind is not None
    message: Any = kind()
    try:
        message.ParseFromString(packed)
    except ParseError:
        raise DecodeError(f"Unable to unpack as {kind.DESCRIPTOR.full_name}") from None
    yield
    return Unpacked(message)


def nack(type_url: str, errors: Mapping[str, str]) -> str:
    return f"{_LABELS[type_url]} " + ", ".join(f"{name}: {why}" for name, why in errors.items())


class RecordingSink:
    """A sink that notes what it is told. refuses: names that it doesn't take. then: called in each update."""

    def __init__(self, refuses: Sequence[str] = (), then: Callable[[], None] = lambda: None) -> None:
        self.told: list[str] = []
        self.attempts = 0
        self.refuses = set(refuses)
        self.then = then
        self.scope = StatsStore().scope("")

    def attempted(self) -> None:
        self.attempts += 1

    def update(self, added: Sequence[Resource], removed: Sequence[str], *, full: bool, version: str) -> dict[str, str]:
        assert not full
        parts = [f"+{resource.name}@{resource.version}" for resource in added] + [f"-{name}" for name in removed]
        self.told.append(f"{version or '-'}: {' '.join(parts)}".rstrip())
        self.then()
        return {resource.name: "refused" for resource in added if resource.name in self.refuses}

    def failed(self, reason: str, detail: str) -> None:
        self.told.append(f"{reason}! {detail}".rstrip("! "))


class Talk:
    """A mux and its server. sent: the requests as they left, one line each."""

    def __init__(self, delta: bool, *, node_once: bool = True) -> None:
        self.sent: list[str] = []
        self.raw: list[Any] = []
        kind: type[Mux] = DeltaMux if delta else SotwMux
        node = base_pb2.Node(id="me")
        self.mux = kind(node, decode, nack, RecordingLog(), self._flush, node_once=node_once)
        self.delta = delta
        self.now = 100.0
        self.open = False

    def _flush(self) -> None:
        while self.open and (request := self.mux.next_request()) is not None:
            self.raw.append(request)
            self.sent.append(told(request))

    def take(self) -> list[str]:
        """What has been sent since the last time."""
        sent, self.sent = self.sent, []
        return sent

    def connect(self) -> list[str]:
        self.open = True
        self.mux.connected()
        return self.take()

    def disconnect(self) -> None:
        self.open = False
        self.mux.disconnected()

    def answer(
        self,
        type_url: str,
        version: str,
        nonce: str,
        *resources: Message,
        removed: Sequence[str] = (),
        ttl: float | None = None,
        heartbeats: Sequence[str] = (),
        aliases: Mapping[str, Sequence[str]] | None = None,
    ) -> list[str]:
        """A response; returns what is sent because of it. ttl: of every resource, in seconds."""
        wrapped = []
        for resource in resources:
            packed = any_pb2.Any()
            packed.Pack(resource)
            name = getattr(resource, "cluster_name", "") or getattr(resource, "name", "")
            one = discovery_pb2.Resource(name=name, version=version, resource=packed)
            one.aliases.extend((aliases or {}).get(name, ()))
            wrapped.append(one)
        wrapped += [discovery_pb2.Resource(name=name, version=version) for name in heartbeats]
        if ttl is not None:
            for one in wrapped:
                one.ttl.CopyFrom(duration_pb2.Duration(seconds=int(ttl)))
        if self.delta:
            response: Any = discovery_pb2.DeltaDiscoveryResponse(
                type_url=type_url,
                system_version_info=version,
                nonce=nonce,
                resources=wrapped,
                removed_resources=removed,
            )
        else:
            response = discovery_pb2.DiscoveryResponse(type_url=type_url, version_info=version, nonce=nonce)
            for one in wrapped:
                if ttl is None and one.HasField("resource"):
                    response.resources.append(one.resource)
                else:
                    response.resources.add().Pack(one)
        return self.receive(response)

    def receive(self, response: Any) -> list[str]:
        finish(self.mux.receive(response, self.now))
        return self.take()
