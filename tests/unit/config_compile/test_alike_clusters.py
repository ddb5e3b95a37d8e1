"""A cluster whose pattern is known is compiled to what it is compiled to in full, or refused with the same words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format

from meshproxy.config.bootstrap.resources import cluster_of
from meshproxy.config.clusters.alike_clusters import patterned, patterns_of
from meshproxy.config.values.context import CompileContext
from meshproxy.errors import ConfigError
from meshproxy.messages.by_name import message_class
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.discovery import CLUSTER, Resource
from meshproxy.model.snapshot import ClusterManagerConfig
from meshproxy.runtime.discovery.decoder import decode_resource
from meshproxy.runtime.tls.sockets import COMPILERS
from tests.unit.config_compile.compiling import make_context

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
for _name in (_OPTIONS, _TLS):
    assert message_class(_name)  # to be packed by name
SERVER = {"ads": {}, "resource_api_version": "V3"}
FILE = {"path_config_source": {"path": __file__}}
LIMITS: dict[str, Any] = {
    "connect_timeout": "3s",
    "circuit_breakers": {"thresholds": [{"max_requests": 7}, {"priority": "HIGH", "max_requests": 8}]},
    "outlier_detection": {"consecutive_5xx": 3},
    "typed_extension_protocol_options": {
        _OPTIONS: {
            "@type": f"type.googleapis.com/{_OPTIONS}",
            "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 9}},
        }
    },
}


def load_assignment(name: str, *addresses: str) -> dict[str, Any]:
    hosts = [
        {"endpoint": {"address": {"socket_address": {"address": address, "port_value": 80}}}} for address in addresses
    ]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]}


def tls(name: str) -> dict[str, Any]:
    return {"name": "tls", "typed_config": {"@type": f"type.googleapis.com/{_TLS}", "sni": name}}


PAIRS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "endpoints elsewhere": (
        {"type": "EDS", "eds_cluster_config": {"eds_config": SERVER, "service_name": "s"}},
        {"type": "EDS", "eds_cluster_config": {"eds_config": SERVER}, "metadata": {"filter_metadata": {"a": {"b": 1}}}},
    ),
    "endpoints inside": (
        {"load_assignment": load_assignment("a", "10.0.0.1")},
        {"load_assignment": load_assignment("b", "10.0.0.2", "::1"), "alt_stat_name": "other"},
    ),
    "load that the first one sheds": (
        {
            "load_assignment": {
                **load_assignment("a", "10.0.0.1"),
                "policy": {"drop_overloads": [{"category": "c", "drop_percentage": {"numerator": 9}}]},
            }
        },
        {"load_assignment": load_assignment("b", "10.0.0.2")},
    ),
    "TLS": (
        {"load_assignment": load_assignment("a", "10.0.0.1"), "transport_socket": tls("a")},
        {
            "load_assignment": load_assignment("b", "10.0.0.1"),
            "transport_socket": tls("b"),
            "transport_socket_matches": [{"name": "m", "match": {"k": "v"}, "transport_socket": tls("m")}],
        },
    ),
}


def resource(name: str, *fields: Mapping[str, Any]) -> Resource:
    described: dict[str, Any] = {"name": name}
    for some in fields:
        described.update(some)
    return Resource(name, "", json_format.ParseDict(described, cluster_pb2.Cluster()))


def context_with_tls() -> CompileContext:
    return make_context(transport_sockets=COMPILERS, has_ads=True)


def same(one: ClusterConfig, other: ClusterConfig) -> bool:
    """Slots for TLS are compared by what they say."""
    return _plain(one) == _plain(other)


def _plain(config: ClusterConfig) -> str:
    return re.sub(" at 0x[0-9a-f]+", "", str(config))


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_known_pattern_gives_what_compiling_in_full_gives(pair: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
    first, second = resource("a", LIMITS, pair[0]), resource("b", LIMITS, pair[1])
    in_full = cluster_of(second, context_with_tls())
    context = context_with_tls()
    cluster_of(first, context)
    alike = patterned(second.message)
    assert alike is not None
    assert patterns_of(context).compile(alike, context) is not None
    assert same(cluster_of(second, context), in_full)
    assert (in_full.name, in_full.thresholds.max_requests) == ("b", 7)


@pytest.mark.parametrize(
    "own",
    [
        {"load_assignment": load_assignment("b", "nonsense")},
        {"load_assignment": load_assignment("", "10.0.0.1")},
        {"transport_socket": {"name": "tls"}, "load_assignment": load_assignment("b", "10.0.0.1")},
        {"metadata": {"filter_metadata": {}}, "transport_socket_matches": [{"name": ""}]},
    ],
)
def test_wrong_own_part_is_refused_as_ever(own: Mapping[str, Any]) -> None:
    wrong = resource("b", LIMITS, {"load_assignment": load_assignment("b", "10.0.0.1")}, own)
    with pytest.raises(ConfigError) as in_full:
        cluster_of(wrong, context_with_tls())
    context = context_with_tls()
    cluster_of(resource("a", LIMITS, {"load_assignment": load_assignment("a", "10.0.0.1")}), context)
    with pytest.raises(ConfigError) as alike:
        cluster_of(wrong, context)
    assert str(alike.value) == str(in_full.value)


def test_refused_cluster_leaves_no_pattern() -> None:
    context = make_context()
    for _ in range(2):
        with pytest.raises(ConfigError, match="isn't supported"):
            cluster_of(resource("a", {"outlier_detection": {"detect_degraded_hosts": True}}), context)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "STRICT_DNS"},
        {"health_checks": [{"timeout": "1s", "interval": "1s"}]},
        {"cluster_type": {"name": "envoy.clusters.aggregate"}},
        {"type": "EDS", "eds_cluster_config": {"eds_config": FILE}},
    ],
)
def test_kind_that_is_compiled_as_a_whole_has_no_pattern(fields: Mapping[str, Any]) -> None:
    assert patterned(resource("a", fields).message) is None


def test_cluster_of_the_proxy_itself_is_no_pattern_for_others() -> None:
    context = make_context(cluster_manager=ClusterManagerConfig(local_cluster_name="own"))
    assert cluster_of(resource("own", LIMITS), context).lb.zone is None
    assert cluster_of(resource("other", LIMITS), context).lb.zone is not None
    assert cluster_of(resource("own", LIMITS), context).lb.zone is None


def test_decoding_checks_a_pattern_once_and_the_own_part_each_time() -> None:
    good = resource("a", LIMITS).message
    assert decode_resource(CLUSTER, good.SerializeToString()).compiled is not None
    again = resource("b", LIMITS).message.SerializeToString()
    assert decode_resource(CLUSTER, again).compiled is not None
    nameless = resource("", LIMITS).message.SerializeToString()
    with pytest.raises(Exception, match="name"):
        decode_resource(CLUSTER, nameless)
