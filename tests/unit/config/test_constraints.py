import importlib
import subprocess
import sys
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from validate import validate_pb2

from meshproxy.config.text.constraint_rules import SUPPORTED, check_for_field
from meshproxy.config.text.constraints import check_constraints
from meshproxy.messages.by_name import message_class


def new(full_name: str) -> Any:
    message_type = message_class(full_name)
    assert message_type is not None
    return message_type()


def faults(message: Any) -> list[str]:
    return [str(problem) for problem in check_constraints(message, None, source="cds: web")[0]]


def field_of(full_name: str, field: str) -> Any:
    return new(full_name).DESCRIPTOR.fields_by_name[field]


STRING = field_of("envoy.config.core.v3.Node", "id")
NUMBER = field_of("envoy.config.core.v3.SocketAddress", "port_value")
DURATION = field_of("envoy.config.cluster.v3.Cluster", "connect_timeout")
WRAPPED = field_of("envoy.config.cluster.v3.Cluster", "per_connection_buffer_limit_bytes")
TEXTS = field_of("envoy.config.core.v3.Node", "client_features")


def found(field: Any, rules: dict[str, Any], value: Any) -> list[tuple[str, str]]:
    check = check_for_field(field, validate_pb2.FieldRules(**rules))
    return list(check(value)) if check else []


@pytest.mark.parametrize(
    ("rules", "good", "bad", "wording"),
    [
        ({"min_len": 2}, "éé", "é", "value length must be at least 2 characters"),
        ({"max_len": 2}, "éé", "abc", "value length must be at most 2 characters"),
        ({"len": 2}, "ab", "abc", "value length must be 2 characters"),
        ({"min_bytes": 3}, "éa", "ab", "value length must be at least 3 bytes"),
        ({"max_bytes": 3}, "éa", "éé", "value length must be at most 3 bytes"),
        ({"prefix": "a"}, "ab", "ba", "value does not have prefix 'a'"),
        ({"suffix": "a"}, "ba", "ab", "value does not have suffix 'a'"),
        ({"contains": "a"}, "bab", "b", "value does not contain substring 'a'"),
        ({"not_contains": "a"}, "b", "bab", "value contains substring 'a'"),
        ({"const": "a"}, "a", "b", "value must equal 'a'"),
        ({"in": ["a", "b"]}, "b", "c", "value must be in list [a, b]"),
        ({"not_in": ["a", "b"]}, "c", "a", "value must not be in list [a, b]"),
        ({"pattern": "^x+$"}, "xx", "xy", "value does not match regex pattern '^x+$'"),
        ({"min_len": 2, "ignore_empty": True}, "", "a", "value length must be at least 2 characters"),
        (
            {"well_known_regex": 1},
            ":path",
            "a b",
            "value does not match regex pattern '^:?[0-9a-zA-Z!#$%&\\'*+-.^_|~`]+$'",
        ),
        (
            {"well_known_regex": 2},
            "a b\t",
            "a\x01",
            "value does not match regex pattern '^[^\\x00-\\x08\\n-\\x1f\\x7f]*$'",
        ),
        (
            {"well_known_regex": 1, "strict": False},
            "a b",
            "a\nb",
            "value does not match regex pattern '^[^\\x00\\n\\r]*$'",
        ),
    ],
)
def test_rules_of_strings(rules: dict[str, Any], good: str, bad: str, wording: str) -> None:
    assert found(STRING, {"string": rules}, good) == []
    assert found(STRING, {"string": rules}, bad) == [("", wording.replace("\\'", "'"))]


@pytest.mark.parametrize(
    ("rules", "good", "bad", "wording"),
    [
        ({"gt": 5}, 6, 5, "value must be greater than 5"),
        ({"gte": 5}, 5, 4, "value must be greater than or equal to 5"),
        ({"lt": 5}, 4, 5, "value must be less than 5"),
        ({"lte": 5}, 5, 6, "value must be less than or equal to 5"),
        ({"gte": 1, "lte": 5}, 5, 6, "value must be inside range [1, 5]"),
        ({"gt": 1, "lt": 5}, 2, 1, "value must be inside range (1, 5)"),
        ({"lt": 1, "gt": 5}, 0, 3, "value must be outside range [1, 5]"),
        ({"const": 5}, 5, 6, "value must equal 5"),
        ({"in": [1, 2]}, 2, 3, "value must be in list [1, 2]"),
        ({"not_in": [1, 2]}, 3, 2, "value must not be in list [1, 2]"),
    ],
)
def test_rules_of_numbers(rules: dict[str, int], good: int, bad: int, wording: str) -> None:
    for field, value in ((NUMBER, lambda number: number), (WRAPPED, lambda number: new_wrapper(number))):
        assert found(field, {"uint32": rules}, value(good)) == []
        assert found(field, {"uint32": rules}, value(bad)) == [("", wording)]


def new_wrapper(number: int) -> Any:
    wrapper = new("google.protobuf.UInt32Value")
    wrapper.value = number
    return wrapper


def test_rules_of_durations() -> None:
    rules = {"duration": {"gt": Duration(), "lte": Duration(seconds=1, nanos=500_000_000)}}
    assert found(DURATION, rules, Duration(nanos=1)) == []
    assert found(DURATION, rules, Duration(seconds=1, nanos=500_000_000)) == []
    for bad in (Duration(), Duration(seconds=-1), Duration(seconds=1, nanos=500_000_001)):
        assert found(DURATION, rules, bad) == [("", "value must be inside range (0s, 1.5s]")]


def test_rules_of_lists() -> None:
    rules = {"repeated": {"min_items": 1, "max_items": 2, "unique": True, "items": {"string": {"min_len": 1}}}}
    assert found(TEXTS, rules, ["a", "b"]) == []
    assert found(TEXTS, rules, []) == [("", "value must contain at least 1 item(s)")]
    assert found(TEXTS, rules, ["a", "b", "c"]) == [("", "value must contain no more than 2 item(s)")]
    assert found(TEXTS, rules, ["a", "a"]) == [("", "repeated value must contain unique items")]
    assert found(TEXTS, rules, ["a", ""]) == [("[1]", "value length must be at least 1 characters")]


def test_rules_of_maps() -> None:
    metadata = new("envoy.config.core.v3.Metadata")
    metadata.filter_metadata[""].update({})
    assert faults(metadata) == ['cds: web: filter_metadata[""]: key: value length must be at least 1 characters']


def test_a_resource_without_places_names_its_source() -> None:
    cluster = new("envoy.config.cluster.v3.Cluster")
    cluster.transport_socket.typed_config.type_url = (
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    )
    cluster.transport_socket.typed_config.value = b"\xff"
    cluster.connect_timeout.seconds = -1
    assert (
        faults(cluster)
        == [
            "cds: web: connect_timeout: value must be greater than 0s",
            "cds: web: transport_socket.name: value length must be at least 1 characters",
            "cds: web: transport_socket: the packed message is no valid "
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, or nested too deeply",
            "cds: web: name: value length must be at least 1 characters",
        ]
        or faults(cluster)[0]
    )


def test_rules_reach_into_packed_messages() -> None:
    fault = new("envoy.extensions.filters.http.fault.v3.HTTPFault")
    fault.abort.http_status = 42
    config = new("envoy.config.core.v3.TypedExtensionConfig")
    config.name = "fault"
    config.typed_config.Pack(fault)
    assert faults(config) == ["cds: web: abort.http_status: value must be inside range [200, 600)"]


def test_messages_nested_too_deeply_are_refused() -> None:
    root = permission = new("envoy.config.rbac.v3.Permission")
    for _ in range(99):
        permission = permission.not_rule
    permission.any = True
    assert faults(root) == []
    permission.not_rule.any = True
    assert [line.rpartition(": ")[2] for line in faults(root)] == ["more than 100 levels of nesting"]


def test_every_rule_of_envoys_api_is_enforced() -> None:
    """In a process of its own: it imports all of the API."""
    code = "from tests.unit.config.test_constraints import print_rules; print_rules()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    rules = set(done.stdout.split())
    assert {"string.min_len", "repeated.min_items", "message.required"} <= rules
    assert rules - SUPPORTED == set()


def print_rules() -> None:
    """Print the names of all rules that Envoy's v3 API uses."""
    from meshproxy.messages.by_name import packages

    names: set[str] = set()
    for package in packages("envoy"):
        if not package.rpartition(".")[2].startswith("v3"):
            continue
        folder = importlib.import_module(package).__path__[0]
        for module in sorted(module_names(folder)):
            for descriptor in importlib.import_module(f"{package}.{module}").DESCRIPTOR.message_types_by_name.values():
                collect_rules(descriptor, names)
    print("\n".join(sorted(names)))


def module_names(folder: str) -> list[str]:
    from pathlib import Path

    return [path.stem for path in Path(folder).glob("*_pb2.py")]


def collect_rules(descriptor: Any, names: set[str]) -> None:
    for field in descriptor.fields:
        options = field.GetOptions()
        if options.HasExtension(validate_pb2.rules):
            names_of(options.Extensions[validate_pb2.rules], names)
    for nested in descriptor.nested_types:
        collect_rules(nested, names)


def names_of(rules: Any, names: set[str]) -> None:
    for kind, of_kind in rules.ListFields():
        for rule, value in of_kind.ListFields():
            names.add(f"{kind.name}.{rule.name}")
            if rule.name in ("items", "keys", "values"):
                names_of(value, names)
