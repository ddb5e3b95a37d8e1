"""Random messages of Envoy's API, written as JSON and as YAML, are read back as they were."""

import json
import math
from typing import Any

import pytest
import yaml
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.route.v3.route_components_pb2 import RetryPolicy
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshproxy.config.text.proto_tree import TreeReader
from meshproxy.config.text.yaml_tree import compose
from meshproxy.messages.by_name import message_class

TYPES = (
    "envoy.config.listener.v3.Listener",
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.config.core.v3.Metadata",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.filters.http.fault.v3.HTTPFault",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
)
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8) | st.sampled_from(
    ["n", "010", "~"]
)
_CPP = FieldDescriptor
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    _CPP.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    _CPP.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    _CPP.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    _CPP.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    _CPP.CPPTYPE_BOOL: st.booleans(),
    _CPP.CPPTYPE_FLOAT: st.floats(width=32, allow_nan=False),
    _CPP.CPPTYPE_DOUBLE: st.floats(allow_nan=False),
    _CPP.CPPTYPE_STRING: _TEXT,
}


def scalars(field: Any) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return st.binary(max_size=6) if field.type == _CPP.TYPE_BYTES else _SCALARS[field.cpp_type]


def _new(name: str) -> Message:
    made = message_class(name)
    assert made is not None
    return made()


def fill(draw: Any, message: Any, depth: int) -> None:
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Duration":
        message.seconds = draw(st.integers(0, 10**6))
        message.nanos = draw(st.integers(0, 999_999_999))
        return
    if name == "google.protobuf.Struct":
        message.update(draw(st.dictionaries(_TEXT, st.booleans() | _TEXT | st.lists(_TEXT), max_size=3)))
        return
    if name == "google.protobuf.Any":
        inner = _new(draw(st.sampled_from(TYPES[-3:])))
        fill(draw, inner, depth - 1)
        message.Pack(inner, deterministic=True)
        return
    fields = list(message.DESCRIPTOR.fields)
    for field in draw(st.lists(st.sampled_from(fields), max_size=6)) if fields else ():
        kind = field.message_type
        if kind is not None and (depth <= 0 or kind.full_name.startswith("google.protobuf.Value")):
            continue
        value = getattr(message, field.name)
        if kind is not None and kind.GetOptions().map_entry:
            entry = kind.fields_by_name["value"]
            for key in draw(st.lists(_TEXT, max_size=2)) if kind.fields_by_name["key"].type == _CPP.TYPE_STRING else ():
                if entry.message_type is None:
                    value[key] = draw(scalars(entry))
                else:
                    fill(draw, value[key], depth - 1)
        elif field.is_repeated:
            for _ in range(draw(st.integers(0, 2))):
                if kind is None:
                    value.append(draw(scalars(field)))
                else:
                    fill(draw, value.add(), depth - 1)
        elif kind is None:
            setattr(message, field.name, draw(scalars(field)))
        else:
            value.SetInParent()
            fill(draw, value, depth - 1)


@st.composite
def messages(draw: Any) -> Message:
    message = _new(draw(st.sampled_from(TYPES)))
    fill(draw, message, 3)
    return message


class Quoting(yaml.SafeDumper):
    """Quotes every string: PyYAML alone would write the string "n" without quotes, a boolean to Envoy and to us."""


Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def read(text: str, like: Message, *, as_json: bool) -> Message:
    reader = TreeReader("x", json=as_json)
    message = type(like)()
    reader.read(compose(text, "x"), message)
    assert reader.problems == []
    return message


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(messages(), st.booleans())
def test_a_message_survives_its_text(message: Message, proto_names: bool) -> None:
    text = json_format.MessageToJson(message, preserving_proto_field_name=proto_names)
    assert read(text, message, as_json=True) == message
    assert read(yaml.dump(json.loads(text), Dumper=Quoting, allow_unicode=True), message, as_json=False) == message


VALUES = [
    ("uint64_value", "18446744073709551615", 2**64 - 1),
    ("uint64_value", "'18446744073709551615'", 2**64 - 1),
    ("int64_value", "-9223372036854775808", -(2**63)),
    ("double_value", "1e-3", 0.001),
    ("double_value", "Infinity", math.inf),
    ("double_value", "' 5 '", 5.0),
    ("bool_value", "'1'", True),
    ("bool_value", "FALSE", False),
]


@pytest.mark.parametrize(("name", "text", "value"), VALUES)
def test_notations_of_scalars(name: str, text: str, value: object) -> None:
    wrapper = {"uint64": "UInt64", "int64": "Int64", "double": "Double", "bool": "Bool"}[name.partition("_")[0]]
    message_type = message_class(f"google.protobuf.{wrapper}Value")
    assert message_type is not None
    message: Any = message_type()
    reader = TreeReader("x")
    reader.read(compose(f"value: {text}", "x"), message)
    assert (reader.problems, message.value) == ([], value)


def problems(full_name: str, text: str) -> list[str]:
    message_type = message_class(full_name)
    assert message_type is not None
    reader = TreeReader("x")
    reader.read(compose(text, "x"), message_type())
    return [str(problem) for problem in reader.problems]


def test_names_given_twice_are_refused() -> None:
    assert problems("envoy.config.core.v3.Node", "id: a\nid: b\nuser_agent_name: a\nuserAgentName: b\n") == [
        "x:2:1: 'id' is given twice",
        "x:4:1: 'userAgentName' is given twice",
    ]
    assert problems("envoy.config.core.v3.Node", "metadata:\n  a: 1\n  a: 2\n") == [
        "x:3:3: metadata: 'a' is given twice"
    ]
    assert problems("envoy.config.core.v3.Metadata", "filter_metadata:\n  a: {}\n  a: {}\n") == [
        "x:3:3: filter_metadata: 'a' is given twice"
    ]
    node = '"@type": type.googleapis.com/envoy.config.core.v3.Node'
    assert problems("google.protobuf.Any", f"{node}\nid: a\n{node}\n") == ["x:3:1: '@type' is given twice"]


def test_odd_keys_are_refused() -> None:
    assert problems("envoy.config.core.v3.Node", "client_features: [a]\n? [x]\n: y\n") == [
        "x:2:3: the name of a field is expected, not a list"
    ]


def test_lists_in_lists_are_flat_and_null_is_an_empty_element() -> None:
    node = read("client_features: [[a, [b]], ~, [], c]\nextensions: [[{name: x}], ~]", Node(), as_json=False)
    assert isinstance(node, Node)
    assert list(node.client_features) == ["a", "b", "", "c"]
    assert [each.name for each in node.extensions] == ["x", ""]
    retries = read("retriable_status_codes: [[503], ~]", RetryPolicy(), as_json=False)
    assert isinstance(retries, RetryPolicy)
    assert list(retries.retriable_status_codes) == [503, 0]
    assert problems("envoy.config.core.v3.Node", "client_features: [[a, {}]]") == [
        "x:1:23: client_features[1]: a single value is expected, not a mapping"
    ]


def test_any_takes_the_json_form_of_well_known_messages() -> None:
    url = "type.googleapis.com/google.protobuf"
    text = f'name: a\ntyped_config: {{"@type": {url}.UInt32Value, value: 5}}\n'
    assert problems("envoy.config.core.v3.TypedExtensionConfig", text) == []
    assert problems("envoy.config.core.v3.TypedExtensionConfig", text.replace("value: 5", "valeu: 5")) == [
        "x:2:74: no field 'valeu' beside \"@type\" of UInt32Value: only 'value'"
    ]
    nested = f'typed_config: {{"@type": {url}.Any, value: {{}}}}\n'
    assert problems("envoy.config.core.v3.TypedExtensionConfig", nested) == ["x:1:25: an Any inside of an Any"]


def test_a_struct_too_deep_for_the_wire_is_refused_not_raised() -> None:
    deep = "[" * 80 + "]" * 80
    url = "type.googleapis.com/google.protobuf.Struct"
    found = problems(
        "envoy.config.core.v3.TypedExtensionConfig", f'typed_config: {{"@type": {url}, value: {{a: {deep}}}}}\n'
    )
    assert found == ["x:1:15: nested too deeply to be packed"]
