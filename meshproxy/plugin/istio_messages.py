"""Messages of Istio's own that are no part of Envoy's published API, declared by their field numbers.

Istio's control plane puts them into `typed_config` as they are, not as a `TypedStruct`, so they have to be decoded.
Names and numbers are those of istio/proxy.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from google.protobuf import descriptor_pool, duration_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

STATS = "stats.PluginConfig"
METADATA_EXCHANGE = "envoy.tcp.metadataexchange.config.MetadataExchange"
ALPN = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"
NAMES = frozenset({STATS, METADATA_EXCHANGE, ALPN})

_DURATION = f".{duration_pb2.Duration.DESCRIPTOR.full_name}"


def _field(
    name: str, number: int, kind: FieldDescriptorProto.Type.ValueType, type_name: str = "", *, repeated: bool = False
) -> FieldDescriptorProto:
    label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    return FieldDescriptorProto(name=name, number=number, type=kind, type_name=type_name or None, label=label)


def _enum(name: str, values: Sequence[str]) -> EnumDescriptorProto:
    made = EnumDescriptorProto(name=name)
    for number, value in enumerate(values):
        made.value.add(name=value, number=number)
    return made


def _stats() -> FileDescriptorProto:
    """istio/proxy source/extensions/filters/http/istio_stats/config.proto"""
    of = FieldDescriptorProto
    entry = DescriptorProto(
        name="DimensionsEntry", field=[_field("key", 1, of.TYPE_STRING), _field("value", 2, of.TYPE_STRING)]
    )
    entry.options.map_entry = True
    metric = DescriptorProto(
        name="MetricConfig",
        nested_type=[entry],
        field=[
            _field("dimensions", 1, of.TYPE_MESSAGE, ".stats.MetricConfig.DimensionsEntry", repeated=True),
            _field("name", 2, of.TYPE_STRING),
            _field("tags_to_remove", 3, of.TYPE_STRING, repeated=True),
            _field("match", 4, of.TYPE_STRING),
            _field("drop", 5, of.TYPE_BOOL),
        ],
    )
    definition = DescriptorProto(
        name="MetricDefinition",
        field=[
            _field("name", 1, of.TYPE_STRING),
            _field("value", 2, of.TYPE_STRING),
            _field("type", 3, of.TYPE_ENUM, ".stats.MetricType"),
        ],
    )
    config = DescriptorProto(
        name="PluginConfig",
        field=[
            _field("disable_host_header_fallback", 6, of.TYPE_BOOL),
            _field("tcp_reporting_duration", 7, of.TYPE_MESSAGE, _DURATION),
            _field("metrics", 8, of.TYPE_MESSAGE, ".stats.MetricConfig", repeated=True),
            _field("definitions", 9, of.TYPE_MESSAGE, ".stats.MetricDefinition", repeated=True),
            _field("reporter", 10, of.TYPE_ENUM, ".stats.Reporter"),
            _field("rotation_interval", 11, of.TYPE_MESSAGE, _DURATION),
            _field("graceful_deletion_interval", 12, of.TYPE_MESSAGE, _DURATION),
        ],
    )
    return FileDescriptorProto(
        name="istio/stats.proto",
        package="stats",
        syntax="proto3",
        dependency=[duration_pb2.DESCRIPTOR.name],
        message_type=[metric, definition, config],
        enum_type=[
            _enum("MetricType", ("COUNTER", "GAUGE", "HISTOGRAM")),
            _enum("Reporter", ("UNSPECIFIED", "SERVER_GATEWAY")),
        ],
    )


def _metadata_exchange() -> FileDescriptorProto:
    """istio/proxy source/extensions/filters/network/metadata_exchange/config/metadata_exchange.proto"""
    of = FieldDescriptorProto
    config = DescriptorProto(
        name="MetadataExchange",
        field=[
            _field("protocol", 1, of.TYPE_STRING),
            _field("enable_discovery", 2, of.TYPE_BOOL),
            _field("additional_labels", 3, of.TYPE_STRING, repeated=True),
        ],
    )
    return FileDescriptorProto(
        name="istio/metadata_exchange.proto",
        package="envoy.tcp.metadataexchange.config",
        syntax="proto3",
        message_type=[config],
    )


def _alpn() -> FileDescriptorProto:
    """istio/proxy source/extensions/filters/http/alpn/config.proto"""
    of = FieldDescriptorProto
    package = "istio.envoy.config.filter.http.alpn.v2alpha1"
    override = DescriptorProto(
        name="AlpnOverride",
        field=[
            _field("upstream_protocol", 1, of.TYPE_ENUM, f".{package}.FilterConfig.Protocol"),
            _field("alpn_override", 2, of.TYPE_STRING, repeated=True),
        ],
    )
    config = DescriptorProto(
        name="FilterConfig",
        nested_type=[override],
        enum_type=[_enum("Protocol", ("HTTP10", "HTTP11", "HTTP2"))],
        field=[_field("alpn_override", 1, of.TYPE_MESSAGE, f".{package}.FilterConfig.AlpnOverride", repeated=True)],
    )
    return FileDescriptorProto(name="istio/alpn.proto", package=package, syntax="proto3", message_type=[config])


@functools.cache
def declare() -> None:
    """Make the messages known to protobuf."""
    pool = descriptor_pool.Default()
    for file in (_stats(), _metadata_exchange(), _alpn()):
        pool.AddSerializedFile(file.SerializeToString())
