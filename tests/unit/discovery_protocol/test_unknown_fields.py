"""Fields of resources that this version of the API doesn't have."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from google.protobuf.message import Message

from meshproxy.config.text.unknown_fields import drop_unknown_fields, unknown_fields
from meshproxy.model.discovery import CLUSTER, ENDPOINTS, LISTENER
from meshproxy.runtime.discovery.unknown_fields import UnknownFields
from meshproxy.steps import Steps, finish
from meshproxy.telemetry.stats import StatsStore
from meshproxy.testing.environment import RecordingLog
from meshproxy.xds.watch import DecodeError, Unpacked

_NINE = b"\xca\xf0\x04\x01x"  # field 9993, a text


def _cluster() -> cluster_pb2.Cluster:
    """One with a field that nobody knows, one more below, and one in a packed message."""
    message = cluster_pb2.Cluster(name="c")
    message.MergeFromString(_NINE)
    message.outlier_detection.MergeFromString(_NINE)
    inner = listener_pb2.Listener()
    inner.MergeFromString(_NINE)
    message.typed_extension_protocol_options["x"].Pack(inner)
    return message


def test_fields_are_found_at_every_depth() -> None:
    assert set(unknown_fields(_cluster())) == {
        "type envoy.config.cluster.v3.Cluster with unknown field set {9993}",
        "type envoy.config.cluster.v3.OutlierDetection with unknown field set {9993}",
        "type envoy.config.listener.v3.Listener with unknown field set {9993}",
    }
    assert not list(unknown_fields(cluster_pb2.Cluster(name="c", outlier_detection={"interval": {"seconds": 1}})))


def test_dropping_tells_whether_there_were_any() -> None:
    message = cluster_pb2.Cluster(name="c")
    assert not drop_unknown_fields(message)
    message.load_assignment.MergeFromString(_NINE)
    assert drop_unknown_fields(message)
    assert message == cluster_pb2.Cluster(name="c", load_assignment={})


class _Rig:
    def __init__(self, **policy: bool) -> None:
        self.log = RecordingLog()
        self.counter = StatsStore().scope("").counter("unknown")
        self._decode = UnknownFields(self.counter, self.log, **policy).decoder(_decode)

    def decode(self, type_url: str, message: Message) -> Message:
        decoded: Message = finish(self._decode(type_url, message.SerializeToString())).message
        return decoded


def _decode(type_url: str, packed: bytes) -> Steps[Unpacked]:
    kinds: dict[str, type[Message]] = {
        CLUSTER: cluster_pb2.Cluster,
        LISTENER: listener_pb2.Listener,
        ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    }
    message = kinds[type_url]()
    message.ParseFromString(packed)
    yield
    return Unpacked(message)


def test_each_field_is_told_of_once() -> None:
    rig = _Rig()
    for name in ("a", "b"):
        listener = listener_pb2.Listener(name=name)
        listener.MergeFromString(_NINE)
        assert rig.decode(LISTENER, listener).name == name  # type: ignore[attr-defined]  # a listener
    rig.decode(LISTENER, listener_pb2.Listener(name="c"))
    assert rig.counter.value == 1
    rig.decode(CLUSTER, _cluster())
    assert rig.counter.value == 3


@pytest.mark.parametrize("message", [_cluster(), endpoint_pb2.ClusterLoadAssignment(cluster_name="c")])
def test_they_are_refused_or_nothing_is_said(message: Message) -> None:
    type_url = f"type.googleapis.com/{message.DESCRIPTOR.full_name}"
    if type_url == ENDPOINTS:
        message.MergeFromString(_NINE)
    with pytest.raises(DecodeError, match="unknown fields"):
        _Rig(reject=True).decode(type_url, message)
    quiet = _Rig(ignore=True)
    quiet.decode(type_url, message)
    assert quiet.counter.value == 0
