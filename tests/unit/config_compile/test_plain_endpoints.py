"""Reading endpoints in bulk gives what views give, and gives up on all that views have a say in."""

from __future__ import annotations

import random
from typing import Any

import pytest
from envoy.config.endpoint.v3 import endpoint_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from meshproxy.config.clusters import endpoints as long_way
from meshproxy.config.clusters.endpoints import compile_assignment
from meshproxy.config.text.constraints import check_unpacked
from meshproxy.config.text.plain_endpoints import plain_assignment
from meshproxy.config.values.context import CompileContext
from meshproxy.errors import ConfigError
from meshproxy.model.endpoint import Assignment
from meshproxy.plugin.view import ConfigView
from tests.unit.config_compile.compiling import make_context

PLAIN: list[Any] = [
    {"endpoint": {"address": {"socket_address": {"address": "10.1.2.3", "port_value": 1}}}},
    {"endpoint": {"address": {"socket_address": {"address": "255.255.255.255", "port_value": 65535}}}},
    {"endpoint": {"address": {"socket_address": {"address": "0.0.0.0", "port_value": 127}}}},
    {"endpoint": {"address": {"socket_address": {"address": "1.1.1.1", "port_value": 128}}}},
    {"endpoint": {"address": {"socket_address": {"address": "1.1.1.1", "port_value": 16384}}}},
    {"endpoint": {"address": {"socket_address": {"address": "2001:DB8::1", "port_value": 80}}}},
    {"endpoint": {"address": {"socket_address": {"address": "::ffff:1.2.3.4", "port_value": 80}}}},
    {
        "endpoint": {"address": {"socket_address": {"address": "1.2.3.4", "port_value": 80}}, "hostname": "a.example"},
        "load_balancing_weight": 7,
    },
    {
        "endpoint": {"address": {"socket_address": {"address": "1.2.3.5", "port_value": 80}}},
        "health_status": "DRAINING",
        "load_balancing_weight": 3,
        "metadata": {
            "filter_metadata": {"envoy.lb": {"a": 1, "b": [True, None, "x", {"c": 1.5}]}, "istio": {"w": "v"}}
        },
    },
]
ODD: list[Any] = [
    {},
    {"endpoint": {}},
    {"endpoint_name": "a"},
    {"endpoint": {"address": {}}},
    {"endpoint": {"address": {"pipe": {"path": "/run/a"}}}},
    {"endpoint": {"address": {"socket_address": {"address": "1.2.3.4"}}}},
    {"endpoint": {"address": {"socket_address": {"address": "1.2.3.4", "port_value": 0}}}},
    {"endpoint": {"address": {"socket_address": {"address": "1.2.3.4", "port_value": 65536}}}},
    {"endpoint": {"address": {"socket_address": {"address": "1.2.3.4", "port_value": 2097152}}}},
    {"endpoint": {"address": {"socket_address": {"address": "1.2.3.4", "named_port": "http"}}}},
    {"endpoint": {"address": {"socket_address": {"address": "01.2.3.4", "port_value": 80}}}},
    {"endpoint": {"address": {"socket_address": {"address": "1.2.3.256", "port_value": 80}}}},
    {"endpoint": {"address": {"socket_address": {"address": "a.example", "port_value": 80}}}},
    {"endpoint": {"address": {"socket_address": {"address": "1.2.3.4", "port_value": 80, "protocol": "UDP"}}}},
    {"endpoint": {"address": {"socket_address": {"address": "1.2.3.4", "port_value": 80, "resolver_name": "x"}}}},
    {
        "endpoint": {
            "address": {"socket_address": {"address": "1.2.3.4", "port_value": 80}},
            "health_check_config": {"port_value": 81},
        }
    },
    {
        "endpoint": {
            "address": {"socket_address": {"address": "1.2.3.4", "port_value": 80}},
            "additional_addresses": [{"address": {"socket_address": {"address": "::1", "port_value": 80}}}],
        }
    },
    {
        "endpoint": {"address": {"socket_address": {"address": "1.2.3.4", "port_value": 80}}},
        "load_balancing_weight": 0,
    },
    {
        "endpoint": {"address": {"socket_address": {"address": "1.2.3.4", "port_value": 80}}},
        "metadata": {
            "typed_filter_metadata": {"x": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s"}}
        },
    },
]
GROUPS: list[Any] = [
    {},
    {"locality": {"region": "r", "zone": "z", "sub_zone": "s"}},
    {"locality": {}, "load_balancing_weight": 3, "priority": 2},
    {"priority": 128},
]
ODD_GROUPS: list[Any] = [{"priority": 129}, {"load_balancing_weight": 0}, {"proximity": 3}]


def _message(*groups: dict[str, Any], **more: Any) -> Message:
    message = endpoint_pb2.ClusterLoadAssignment()
    return json_format.ParseDict({"cluster_name": "c", "endpoints": groups, **more}, message)


def _by_views(message: Message, monkeypatch: pytest.MonkeyPatch) -> Assignment | list[str]:
    """What the long way makes of it: the assignment, or the faults that it finds."""
    context: CompileContext = make_context()
    with monkeypatch.context() as patch:
        patch.setattr(long_way, "plain_assignment", lambda _: None)
        view = ConfigView(message)
        try:
            assignment = compile_assignment(view, context, names=False)
        except ConfigError as error:
            return [str(error)]
    faults = [*context.problems, *view.unread_problems()]
    return [str(fault) for fault in faults] or assignment


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("policy", [{}, {"overprovisioning_factor": 200}])
def test_the_common_shape_is_read_as_views_read_it(
    group: dict[str, Any], policy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = _message({**group, "lb_endpoints": PLAIN}, {"lb_endpoints": PLAIN[:2]}, policy=policy)
    plain = plain_assignment(message)
    assert plain is not None
    assert plain == _by_views(message, monkeypatch)
    assert plain.localities == 2


@pytest.mark.parametrize("odd", ODD)
def test_any_other_endpoint_is_left_to_views(odd: dict[str, Any]) -> None:
    message = _message({"lb_endpoints": [PLAIN[0], odd]})
    assert plain_assignment(message) is None


@pytest.mark.parametrize("group", ODD_GROUPS)
def test_any_other_group_is_left_to_views(group: dict[str, Any]) -> None:
    assert plain_assignment(_message({**group, "lb_endpoints": PLAIN})) is None


@pytest.mark.parametrize(
    "more",
    [
        {"cluster_name": ""},
        {"named_endpoints": {"a": PLAIN[0]["endpoint"]}},
        {"policy": {"drop_overloads": [{"category": "a"}]}},
        {"policy": {"overprovisioning_factor": 0}},
    ],
)
def test_any_other_assignment_is_left_to_views(more: dict[str, Any]) -> None:
    assert plain_assignment(_message({"lb_endpoints": PLAIN}, **more)) is None


def test_spoilt_bytes_that_are_still_a_message_are_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes changed at random: whenever bulk reading accepts, the rules are kept and views read the same."""
    rng = random.Random(7)
    whole = _message({"lb_endpoints": PLAIN[:5]}).SerializeToString()
    accepted = 0
    for _ in range(3000):
        spoilt = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            spoilt[rng.randrange(len(spoilt))] = rng.choice((0, 1, 8, 10, 18, 24, 26, 127, 128, rng.randrange(256)))
        message = endpoint_pb2.ClusterLoadAssignment()
        try:
            message.ParseFromString(bytes(spoilt))
        except Exception:  # protobuf refuses it by itself
            continue
        plain = plain_assignment(message)
        if plain is not None:
            accepted += 1
            assert plain == _by_views(message, monkeypatch)
            with monkeypatch.context() as patch:
                patch.setattr("meshproxy.config.text.constraints.plain_assignment", lambda _: None)
                assert check_unpacked(message)[0] == []
    assert accepted > 30
