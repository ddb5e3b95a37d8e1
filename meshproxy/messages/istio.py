"""Messages of Istio's own that are no part of Envoy's published API, declared by their field numbers.

Istio's control plane puts them into `typed_config` as they are, not as a `TypedStruct`, so they have to be decoded.
Names and numbers are those of istio/proxy.
"""

from __future__ import annotations

import functools

from google.protobuf import descriptor_pool, duration_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from meshproxy.messages.declared import OF, enum, field, map_entry

STATS = "stats.PluginConfig"
METADATA_EXCHANGE = "envoy.tcp.metadataexchange.config.MetadataExchange"
ALPN = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"
NAMES = frozenset({STATS, "stats.MetricConfig", METADATA_EXCHANGE, ALPN})

_DURATION = f".{duration_pb2.Duration.DESCRIPTOR.full_name}"


def _stats() -> FileDescriptorProto:
    """istio/proxy source/extensions/filters/http/istio_stats/config.proto"""
    metric = DescriptorProto(
        name="MetricConfig",
        nested_type=[map_entry("DimensionsEntry", OF.TYPE_STRING)],
        field=[
            field("dimensions", 1, OF.TYPE_MESSAGE, ".stats.MetricConfig.DimensionsEntry", repeated=True),
            field("name", 2, OF.TYPE_STRING),
            field("tags_to_remove", 3, OF.TYPE_STRING, repeated=True),
            field("match", 4, OF.TYPE_STRING),
            field("drop", 5, OF.TYPE_BOOL),
        ],
    )
    definition = DescriptorProto(
        name="MetricDefinition",
        field=[
            field("name", 1, OF.TYPE_STRING),
            field("value", 2, OF.TYPE_STRING),
            field("type", 3, OF.TYPE_ENUM, ".stats.MetricType"),
        ],
    )
    config = DescriptorProto(
        name="PluginConfig",
        field=[
            field("disable_host_header_fallback", 6, OF.TYPE_BOOL),
            field("tcp_reporting_duration", 7, OF.TYPE_MESSAGE, _DURATION),
            field("metrics", 8, OF.TYPE_MESSAGE, ".stats.MetricConfig", repeated=True),
            field("definitions", 9, OF.TYPE_MESSAGE, ".stats.MetricDefinition", repeated=True),
            field("reporter", 10, OF.TYPE_ENUM, ".stats.Reporter"),
            field("rotation_interval", 11, OF.TYPE_MESSAGE, _DURATION),
            field("graceful_deletion_interval", 12, OF.TYPE_MESSAGE, _DURATION),
        ],
    )
    return FileDescriptorProto(
        name="istio/stats.proto",
        package="stats",
        syntax="proto3",
        dependency=[duration_pb2.DESCRIPTOR.name],
        message_type=[metric, definition, config],
        enum_type=[
            enum("MetricType", ("COUNTER", "GAUGE", "HISTOGRAM")),
            enum("Reporter", ("UNSPECIFIED", "SERVER_GATEWAY")),
        ],
    )


def _metadata_exchange() -> FileDescriptorProto:
    """istio/proxy source/extensions/filters/network/metadata_exchange/config/metadata_exchange.proto"""
    config = DescriptorProto(
        name="MetadataExchange",
        field=[
            field("protocol", 1, OF.TYPE_STRING),
            field("enable_discovery", 2, OF.TYPE_BOOL),
            field("additional_labels", 3, OF.TYPE_STRING, repeated=True),
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
    package = "istio.envoy.config.filter.http.alpn.v2alpha1"
    override = DescriptorProto(
        name="AlpnOverride",
        field=[
            field("upstream_protocol", 1, OF.TYPE_ENUM, f".{package}.FilterConfig.Protocol"),
            field("alpn_override", 2, OF.TYPE_STRING, repeated=True),
        ],
    )
    config = DescriptorProto(
        name="FilterConfig",
        nested_type=[override],
        enum_type=[enum("Protocol", ("HTTP10", "HTTP11", "HTTP2"))],
        field=[field("alpn_override", 1, OF.TYPE_MESSAGE, f".{package}.FilterConfig.AlpnOverride", repeated=True)],
    )
    return FileDescriptorProto(name="istio/alpn.proto", package=package, syntax="proto3", message_type=[config])


@functools.cache
def declare() -> None:
    """Make the messages known to protobuf."""
    pool = descriptor_pool.Default()
    for file in (_stats(), _metadata_exchange(), _alpn()):
        pool.AddSerializedFile(file.SerializeToString())
