"""What Envoy 1.40's API has beyond the package `xds-protos`: fields of known messages, and whole messages.

Names, numbers and rules are those of Envoy's API definitions. Declared is what is read somewhere, and what else is
likely to be set: nobody reads it, so it is refused as not supported, like any other field. What isn't declared is
refused as unknown. `meshproxy.messages.api_import` says how the additions get in.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.duration_pb2 import Duration
from validate.validate_pb2 import DurationRules, FieldRules, MapRules, RepeatedRules, StringRules, rules

from meshproxy.messages.declared import OF, Additions, enum, field, map_entry, required, ruled, text_field
from meshproxy.messages.newer_filters import FILTER_ADDITIONS

_BOOL_VALUE = ".google.protobuf.BoolValue"
_DURATION = ".google.protobuf.Duration"
_PERCENT = ".envoy.type.v3.Percent"
_ROUTE = "envoy.config.route.v3"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3"
_TLS = "envoy.extensions.transport_sockets.tls.v3"
_TLV_MERGE = ".envoy.extensions.filters.network.tcp_proxy.v3.ProxyProtocolTlvMergePolicy"

COMPOSITE_CLUSTER = "envoy.extensions.clusters.composite.v3.ClusterConfig"
FILE_CONTENT = "envoy.extensions.formatter.file_content.v3.FileContent"
GENERIC_SECRET = "envoy.extensions.formatter.generic_secret.v3.GenericSecret"
NAMES = frozenset({COMPOSITE_CLUSTER, FILE_CONTENT, GENERIC_SECRET})
"""The messages of files that the package doesn't have."""


_REMOTE_ADDRESS_MATCH = DescriptorProto(
    name="RemoteAddressMatch",
    field=[
        text_field("descriptor_value", 1, least=1),
        text_field("descriptor_key", 2),
        text_field("default_value", 3),
        required(field("address_matcher", 4, OF.TYPE_MESSAGE, ".envoy.type.matcher.v3.AddressMatcher")),
    ],
)
_COOKIE_MATCHER = DescriptorProto(
    name="CookieMatcher",
    field=[
        ruled(text_field("name", 1), FieldRules(string=StringRules(min_len=1, max_bytes=1024))),
        required(field("string_match", 2, OF.TYPE_MESSAGE, ".envoy.type.matcher.v3.StringMatcher")),
        field("invert_match", 3, OF.TYPE_BOOL),
    ],
)

ADDITIONS = {
    **FILTER_ADDITIONS,
    "envoy/config/cluster/v3/circuit_breaker.proto": Additions(
        {"CircuitBreakers.Thresholds.RetryBudget": [field("budget_interval", 3, OF.TYPE_MESSAGE, _DURATION)]},
        dependencies=["google/protobuf/duration.proto"],
    ),
    "envoy/config/cluster/v3/cluster.proto": Additions(
        {"Cluster": [field("per_connection_buffer_high_watermark_timeout", 60, OF.TYPE_MESSAGE, _DURATION)]}
    ),
    "envoy/config/cluster/v3/outlier_detection.proto": Additions(
        {"OutlierDetection": [field("detect_degraded_hosts", 26, OF.TYPE_MESSAGE, _BOOL_VALUE)]}
    ),
    "envoy/config/core/v3/health_check.proto": Additions(
        {
            "HealthCheck": [text_field("name", 27)],
            "HealthCheck.HttpHealthCheck": [field("use_alpn_protocol", 15, OF.TYPE_BOOL)],
        }
    ),
    "envoy/config/core/v3/protocol.proto": Additions(
        {"HttpProtocolOptions": [field("max_connection_duration_jitter", 8, OF.TYPE_MESSAGE, _PERCENT)]},
        dependencies=["envoy/type/v3/percent.proto"],
    ),
    "envoy/config/route/v3/route_components.proto": Additions(
        {
            "RouteMatch": [field("cookies", 17, OF.TYPE_MESSAGE, f".{_ROUTE}.CookieMatcher", repeated=True)],
            "RedirectAction": [text_field("path_rewrite_specifier/path_rewrite", 10)],
            "RateLimit.Action": [
                field(
                    "action_specifier/remote_address_match",
                    13,
                    OF.TYPE_MESSAGE,
                    f".{_ROUTE}.RateLimit.Action.RemoteAddressMatch",
                )
            ],
            "RateLimit.Action.GenericKey": [text_field("default_value", 3)],
            "RateLimit.Action.HeaderValueMatch": [text_field("default_value", 5)],
            "RateLimit.Action.QueryParameterValueMatch": [text_field("default_value", 5)],
        },
        messages=[_COOKIE_MATCHER],
        nested={
            "RateLimit.Action": [_REMOTE_ADDRESS_MATCH],
        },
        dependencies=["envoy/type/matcher/v3/address.proto"],
    ),
    "envoy/extensions/access_loggers/open_telemetry/v3/logs_service.proto": Additions(
        {
            "OpenTelemetryAccessLogConfig": [
                field("http_service", 8, OF.TYPE_MESSAGE, ".envoy.config.core.v3.HttpService"),
                field("grpc_service", 9, OF.TYPE_MESSAGE, ".envoy.config.core.v3.GrpcService"),
                text_field("log_name", 10),
                field("buffer_flush_interval", 11, OF.TYPE_MESSAGE, _DURATION),
                field("buffer_size_bytes", 12, OF.TYPE_MESSAGE, ".google.protobuf.UInt32Value"),
                field("custom_tags", 14, OF.TYPE_MESSAGE, ".envoy.type.tracing.v3.CustomTag", repeated=True),
            ]
        },
        dependencies=[
            "envoy/config/core/v3/grpc_service.proto",
            "envoy/config/core/v3/http_service.proto",
            "envoy/type/tracing/v3/custom_tag.proto",
            "google/protobuf/duration.proto",
            "google/protobuf/wrappers.proto",
        ],
        freed={"OpenTelemetryAccessLogConfig": ["common_config"]},
    ),
    "envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config.proto": Additions(
        {}, freed={"SPIFFECertValidatorConfig": ["trust_domains"]}
    ),
    "envoy/extensions/clusters/dns/v3/dns_cluster.proto": Additions(
        {
            "DnsCluster": [
                ruled(
                    field("dns_min_refresh_rate", 10, OF.TYPE_MESSAGE, _DURATION),
                    FieldRules(duration=DurationRules(gte=Duration(seconds=1))),
                )
            ]
        }
    ),
    "envoy/config/listener/v3/listener.proto": Additions(
        {"Listener": [field("tcp_keepalive", 37, OF.TYPE_MESSAGE, ".envoy.config.core.v3.TcpKeepalive")]}
    ),
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto": Additions(
        {
            "HttpConnectionManager": [
                field("forward_proto_config", 61, OF.TYPE_MESSAGE, f".{_MANAGER}.ForwardProtoConfig"),
                field("drain_timeout_jitter", 62, OF.TYPE_MESSAGE, _PERCENT),
            ]
        },
        messages=[
            DescriptorProto(
                name="ForwardProtoConfig",
                field=[
                    field("https_destination_ports", 1, OF.TYPE_UINT32, repeated=True),
                    field("http_destination_ports", 2, OF.TYPE_UINT32, repeated=True),
                ],
            )
        ],
        dependencies=["envoy/type/v3/percent.proto"],
    ),
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto": Additions(
        {
            "TcpProxy": [
                field("check_drain_close", 24, OF.TYPE_MESSAGE, _BOOL_VALUE),
                field("proxy_protocol_tlv_merge_policy", 23, OF.TYPE_ENUM, _TLV_MERGE),
            ],
            "TcpProxy.TcpAccessLogOptions": [field("flush_access_log_on_start", 3, OF.TYPE_BOOL)],
        },
        enums=[
            enum(
                "ProxyProtocolTlvMergePolicy",
                ["ADD_IF_ABSENT", "OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD", "APPEND_IF_EXISTS_OR_ADD"],
            )
        ],
    ),
    "envoy/type/matcher/v3/address.proto": Additions({"AddressMatcher": [field("invert_match", 2, OF.TYPE_BOOL)]}),
}


def _package(file: str) -> str:
    return file.rpartition("/")[0].replace("/", ".")


def _module(file: str) -> str:
    return f"{file.removesuffix('.proto').replace('/', '.')}_pb2"


HOMES = {
    f"{_package(file)}.{message.name}": _module(file)
    for file, additions in ADDITIONS.items()
    for message in additions.messages
}
"""The modules of new messages in known files."""


def extended(name: str, data: bytes) -> bytes:
    """A serialized file of the API, with its additions. What is there already stays as it is."""
    file = FileDescriptorProto.FromString(data)
    additions = ADDITIONS[name]
    for dependency in additions.dependencies:
        if dependency not in file.dependency:
            importlib.import_module(dependency.removesuffix(".proto").replace("/", ".") + "_pb2")
            file.dependency.append(dependency)
    known = {message.name for message in file.message_type}
    file.message_type.extend(message for message in additions.messages if message.name not in known)
    known_enums = {each.name for each in file.enum_type}
    file.enum_type.extend(each for each in additions.enums if each.name not in known_enums)
    for path, nested in (additions.nested or {}).items():
        _nest(_message(file, path), nested)
    for path, fields in additions.fields.items():
        _add_fields(_message(file, path), fields)
    for path, values in (additions.values or {}).items():
        message, _, enum = path.rpartition(".")
        _add_values(next(each for each in _message(file, message).enum_type if each.name == enum), values)
    for path, names in (additions.freed or {}).items():
        for known_field in _message(file, path).field:
            if known_field.name in names:
                known_field.options.ClearExtension(rules)
    return file.SerializeToString()


def _message(file: FileDescriptorProto, path: str) -> DescriptorProto:
    first, *rest = path.split(".")
    found = next(message for message in file.message_type if message.name == first)
    for name in rest:
        found = next(message for message in found.nested_type if message.name == name)
    return found


def _nest(message: DescriptorProto, nested: Sequence[DescriptorProto]) -> None:
    known = {each.name for each in message.nested_type}
    message.nested_type.extend(each for each in nested if each.name not in known)


def _add_fields(message: DescriptorProto, fields: Sequence[FieldDescriptorProto]) -> None:
    known = {each.number for each in message.field}
    oneofs = [each.name for each in message.oneof_decl]
    for declared in fields:
        if declared.number in known:
            continue
        added = message.field.add()
        added.CopyFrom(declared)
        oneof, _, added.name = declared.name.rpartition("/")
        if oneof:
            if oneof not in oneofs:
                oneofs.append(oneof)
                message.oneof_decl.add(name=oneof)
            added.oneof_index = oneofs.index(oneof)


def _add_values(enum: EnumDescriptorProto, values: Sequence[str]) -> None:
    """values: those that follow the known ones of the first release that lacked them."""
    known = {each.name for each in enum.value}
    for value in values:
        if value not in known:
            enum.value.add(name=value, number=enum.value[-1].number + 1)


def _composite_cluster() -> FileDescriptorProto:
    """envoy/extensions/clusters/composite/v3/cluster.proto"""
    clusters = field("clusters", 1, OF.TYPE_MESSAGE, f".{COMPOSITE_CLUSTER}.ClusterEntry", repeated=True)
    entry = DescriptorProto(name="ClusterEntry", field=[text_field("name", 1, least=1)])
    at_least_one = FieldRules(repeated=RepeatedRules(min_items=1))
    message = DescriptorProto(nested_type=[entry], field=[ruled(clusters, at_least_one)])
    return _file("envoy/extensions/clusters/composite/v3/cluster.proto", COMPOSITE_CLUSTER, message)


def _file_content() -> FileDescriptorProto:
    """envoy/extensions/formatter/file_content/v3/file_content.proto"""
    return _file("envoy/extensions/formatter/file_content/v3/file_content.proto", FILE_CONTENT, DescriptorProto())


def _generic_secret() -> FileDescriptorProto:
    """envoy/extensions/formatter/generic_secret/v3/generic_secret.proto"""
    entry = map_entry("SecretConfigsEntry", OF.TYPE_MESSAGE, f".{_TLS}.SdsSecretConfig")
    configs = field("secret_configs", 1, OF.TYPE_MESSAGE, f".{GENERIC_SECRET}.SecretConfigsEntry", repeated=True)
    at_least_one = FieldRules(map=MapRules(min_pairs=1))
    message = DescriptorProto(nested_type=[entry], field=[ruled(configs, at_least_one)])
    file = "envoy/extensions/formatter/generic_secret/v3/generic_secret.proto"
    return _file(file, GENERIC_SECRET, message, "envoy/extensions/transport_sockets/tls/v3/secret.proto")


def _file(name: str, full_name: str, message: DescriptorProto, *dependencies: str) -> FileDescriptorProto:
    package, _, message.name = full_name.rpartition(".")
    for dependency in dependencies:
        importlib.import_module(_module(dependency))
    return FileDescriptorProto(
        name=name,
        package=package,
        syntax="proto3",
        dependency=["validate/validate.proto", *dependencies],
        message_type=[message],
    )


@functools.cache
def declare() -> None:
    """Make the messages of whole new files known to protobuf."""
    pool = descriptor_pool.Default()
    for file in (_composite_cluster(), _file_content(), _generic_secret()):
        pool.AddSerializedFile(file.SerializeToString())
