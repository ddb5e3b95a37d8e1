import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any, Literal

import pytest

from meshproxy.config.text.bootstrap_load import Source, load_message
from meshproxy.errors import ConfigError
from meshproxy.messages.by_name import message_class
from meshproxy.plugin.struct_view import StructView
from meshproxy.plugin.typed_struct import read_struct


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Retry:
    times: int
    pause: float = 0.5


@dataclass(frozen=True, slots=True)
class Gate:
    token_cluster: str
    header: str = "x-api-token"
    deny_prefixes: tuple[str, ...] = ()
    pair: tuple[str, int] = ("a", 1)
    limits: dict[str, int] = field(default_factory=dict)
    timeout: float | None = None
    strict: bool = False
    mode: Literal["open", "closed"] = "closed"
    colour: Colour = Colour.RED
    retry: Retry | None = None
    hosts: list[str | int] = field(default_factory=list)
    methods: frozenset[str] = frozenset()
    extra: Any = None

    def __post_init__(self) -> None:
        if self.header == "bad":
            raise ValueError("header can't be bad")


def struct(text: str) -> StructView:
    indented = "".join(f"    {line}\n" for line in dedent(text).splitlines())
    text = (
        'typed_config:\n  "@type": type.googleapis.com/xds.type.v3.TypedStruct\n  type_url: a/Gate\n'
        f"  value:\n{indented}name: gate\n"
    )
    typed = load_message("envoy.config.core.v3.TypedExtensionConfig", [Source("x.yaml", text)]).view.any("typed_config")
    assert typed is not None
    assert typed.struct is not None
    return typed.struct


def problems(text: str, target: type = Gate) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_struct(struct(text), target)
    return [str(problem) for problem in caught.value.problems]


def test_every_type_that_is_understood() -> None:
    text = """\
        token_cluster: tokens
        deny_prefixes: [/a, /b]
        pair: [b, 2]
        limits: {a: 1, b: 4294967296}
        timeout: 0.25s
        strict: yes
        mode: open
        colour: blue
        retry: {times: 3, pause: 1.5}
        hosts: [a, 1]
        methods: [GET, PUT]
        extra: {a: [1]}
        """
    assert read_struct(struct(text), Gate) == Gate(
        token_cluster="tokens",
        deny_prefixes=("/a", "/b"),
        pair=("b", 2),
        limits={"a": 1, "b": 2**32},
        timeout=0.25,
        strict=True,
        mode="open",
        colour=Colour.BLUE,
        retry=Retry(3, 1.5),
        hosts=["a", 1],
        methods=frozenset({"GET", "PUT"}),
        extra={"a": [1]},
    )


def test_defaults_and_null() -> None:
    assert read_struct(struct("token_cluster: a\ntimeout: ~\nretry: null\n"), Gate) == Gate("a")


def test_all_faults_come_at_once_each_at_its_place() -> None:
    assert problems("""\
        token_clster: tokens
        deny_prefixes: [/a, 5]
        pair: [b]
        limits: [a]
        timeout: soon
        strict: 1
        mode: opened
        colour: green
        retry: {tims: 3}
        hosts: a
        """) == [
        "x.yaml:5:5: no field 'token_clster' in Gate; did you mean 'token_cluster'?",
        "x.yaml:4:3: field 'token_cluster' of Gate is required",
        "x.yaml:6:25: deny_prefixes[1]: a string is expected, not 5; quote it",
        "x.yaml:7:5: pair: a list of 2 is expected, not of 1",
        "x.yaml:8:5: limits: a mapping is expected, not a list",
        "x.yaml:9:5: timeout: a number or a duration is expected, not 'soon'",
        "x.yaml:10:5: strict: true or false is expected, not 1",
        "x.yaml:11:5: mode: one of 'open', 'closed' is expected, not 'opened'; did you mean 'open'?",
        "x.yaml:12:5: colour: one of 'red', 'blue' is expected, not 'green'",
        "x.yaml:13:13: retry: no field 'tims' in Retry; did you mean 'times'?",
        "x.yaml:13:5: retry: field 'times' of Retry is required",
        "x.yaml:14:5: hosts: a list is expected, not 'a'",
    ]


def test_a_boolean_of_yaml_in_a_string_is_refused() -> None:
    assert problems("token_cluster: n\n") == ["x.yaml:5:5: token_cluster: a string is expected, not false; quote it"]


def test_what_the_dataclass_itself_refuses() -> None:
    assert problems("token_cluster: a\nheader: bad\n") == ["x.yaml:4:3: header can't be bad"]


def test_unions_that_fit_nothing() -> None:
    assert problems("token_cluster: a\nhosts: [[]]\n") == ["x.yaml:6:13: hosts[0]: str or int is expected, not a list"]


def test_a_dict_is_taken_as_it_is() -> None:
    assert read_struct(struct("a: {b: 1}\n"), dict) == {"a": {"b": 1}}


def test_a_message_is_read_with_protobufs_rules() -> None:
    fault = message_class("envoy.extensions.filters.http.fault.v3.HTTPFault")
    assert fault is not None
    made: Any = read_struct(struct("abort: {http_status: 503}\n"), fault)
    assert made.abort.http_status == 503
    text = "headers:\n- name: a\n- nme: b\n"
    assert problems(text, fault) == ["x.yaml:7:7: headers[1]: no field 'nme' in HeaderMatcher; did you mean 'name'?"]
    text = "abort:\n  percentage:\n    denominator: X\n"
    assert [line.partition(": Inv")[0] for line in problems(text, fault)] == [
        "x.yaml:7:9: abort.percentage.denominator"
    ]
    assert problems("abrt: {}\n", fault) == ["x.yaml:5:5: no field 'abrt' in HTTPFault; did you mean 'abort'?"]


class FakeModel:
    """What read_struct knows of a pydantic model: model_validate, model_fields, and an error with errors()."""

    model_fields = {"token_cluster": None}

    class Invalid(ValueError):
        def errors(self) -> Sequence[dict[str, Any]]:
            return [
                {"loc": ("token_clster",), "type": "extra_forbidden", "msg": "Extra inputs are not permitted"},
                {"loc": ("deny", 1), "type": "string_type", "msg": "Input should be a valid string"},
            ]

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    @classmethod
    def model_validate(cls, values: dict[str, Any]) -> "FakeModel":
        if "token_clster" in values:
            raise cls.Invalid
        return cls(values)


def test_a_pydantic_models_complaints_get_their_places() -> None:
    assert read_struct(struct("a: 1\n"), FakeModel).values == {"a": 1}
    assert problems("token_clster: a\ndeny: [a, 5]\n", FakeModel) == [
        "x.yaml:5:5: no field 'token_clster' in FakeModel; did you mean 'token_cluster'?",
        "x.yaml:6:15: deny[1]: Input should be a valid string",
    ]


def test_a_type_that_is_not_understood_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="no dataclass"):
        read_struct(struct("a: 1\n"), int)

    with pytest.raises(TypeError, match="complex"):
        read_struct(struct("a: 1\n"), Odd)


@dataclass
class Odd:
    a: complex = 1j
