"""Expressions: what they come to, what is refused, and that nothing else than a refusal comes of any text."""

from __future__ import annotations

from typing import Any

import pytest
from google.api.expr.v1alpha1 import syntax_pb2
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from meshproxy.cel.attributes import Attributes
from meshproxy.cel.compiler import Evaluate, Options, as_predicate, compile_node, value_or_missing
from meshproxy.cel.messages import read_expression
from meshproxy.cel.nodes import ExpressionError
from meshproxy.cel.show import plain_of, text_of
from meshproxy.cel.surroundings import Surroundings
from meshproxy.cel.syntax import parse
from meshproxy.cel.values import MISSING
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.model.snapshot import Node
from meshproxy.plugin.stream_info import StreamInfo, TlsInfo

ALL = Options(conversion=True, concatenation=True, text_functions=True)


def compiled(text: str, options: Options = Options()) -> Evaluate:  # noqa: B008 - immutable
    surroundings = Surroundings(Node("id", "cluster", "region", metadata={"k": "v"}))
    return value_or_missing(compile_node(parse(text), Attributes(surroundings), options))


def shown(text: str, info: StreamInfo | None = None, options: Options = Options()) -> str | None:  # noqa: B008  # it is frozen
    value = compiled(text, options)(info or StreamInfo())
    return None if value is MISSING else text_of(value)


def stream() -> StreamInfo:
    info = StreamInfo()
    info.request = RequestHeaders("GET", "/a?b=c#d", "h:1", "https", [("x-a", "1"), ("x-b", "\xc3\xa9")])
    info.response = ResponseHeaders(503, [("x-r", "r")])
    info.response_code = 503
    info.flags = "UF,URX"
    info.dynamic_metadata = {"ns": {"number": 5, "text": "é", "deep": {"k": [1, "x"]}}}
    return info


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("2 - 3 - 4", "-5"),
        ("true ? 1 : true ? 2 : 3", "1"),
        ("-1.5e2", "-150"),
        ("0xff", "255"),
        ("[1, 2,][1]", "2"),
        ("{'a': {'b': 3}}.a.b", "3"),
        ("{true: 1}[true]", "1"),
        ("{1: 2}[true]", None),
        ("{1: 2}[1.5]", None),
        ("{'a': 1}[['a']]", None),
        ("18446744073709551615u + 1u", None),
        ("-9223372036854775808 / -1", None),
        ("0 - -9223372036854775808", None),
        ("1.0 / 0.0", "inf"),
        ("-1.0 / 0.0 < 0.0", "true"),
        ("0.0 / 0.0 == 0.0 / 0.0", "false"),
        ("0.0 / 0.0 <= 1.0", "false"),
        ("r'\\n' == '\\\\n'", "true"),
        ("'\\a\\x41\\101\\u00e9' == '\\007AA\u00e9'", "true"),
        ("b'\\xff' == b'\\377'", "true"),
        ("size('''é\n''')", "2"),
        ("duration('1h') + timestamp(0) == timestamp(3600)", "true"),
        ("duration('-90s').getMinutes()", "-1"),
        ("duration('400000000h')", None),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", None),
        ("timestamp('2020-02-30T00:00:00Z')", None),
        ("timestamp('2020-01-01T00:00:00Z').getHours('Europe/../../etc/passwd')", None),
        ("type(request) == map", "true"),
    ],
)
def test_what_an_expression_comes_to(text: str, expected: str | None) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("request.headers['x-a'] == '1'", "true"),
        ("request.headers['x-b'] == 'é'", "true"),
        ("request.headers['x-b'].size()", "1"),
        ("request.query", "b=c"),
        ("request['host']", "h:1"),
        ("request[request.headers['x-a'] == '1' ? 'path' : 'x']", "/a?b=c#d"),
        ("response.headers[':status']", "503"),
        ("response.flags", str((1 << 5) | (1 << 15))),
        ("response.grpc_status", "14"),
        ("metadata.filter_metadata.ns.number == 5", "true"),
        ("metadata.filter_metadata.ns.text == 'é'", "true"),
        ("metadata.filter_metadata['ns'].deep.k[1]", "x"),
        ("xds.node.locality.region", "region"),
        ("has(xds.node.nosuch)", None),
        ("connection.tls_version", None),
    ],
)
def test_what_an_expression_sees(text: str, expected: str | None) -> None:
    assert shown(text, stream()) == expected


def test_what_a_handshake_told() -> None:
    info = stream()
    info.connection = connection = type(info.connection)()
    connection.tls = tls = TlsInfo()
    assert shown("connection.mtls", info) == "false"
    tls.peer_presented = True
    tls.peer_uri_sans = ("spiffe://a", "spiffe://b")
    assert shown("connection.mtls && connection.uri_san_peer_certificate == 'spiffe://a'", info) == "true"
    assert shown("connection.dns_san_peer_certificate", info) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'Äb'.upperAscii() == 'ÄB'", "true"),
        ("'éa'.charAt(1)", "a"),
        ("'éaé'.lastIndexOf('é')", "2"),
        ("'abc'.substring(2, 1)", None),
        ("'abc'.substring(4)", None),
        ("'abc'.charAt(-1)", None),
        ("['a', 1].join()", None),
        ("'a-b'.split('-', 1)[0]", "a-b"),
        ("strings.quote('a\"\\n')", '"a\\"\\n"'),
        ("string(0.1) + string(1u) + string(b'x')", "0.11x"),
        ("string(b'\\xff')", None),
        ("'a' + 1", None),
    ],
)
def test_functions_of_texts(text: str, expected: str | None) -> None:
    assert shown(text, options=ALL) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "1 +",
            "a.",
            "'a",
            "has(a)",
            "a.b(",
            "[1",
            "{1}",
            "1 2",
            "$",
            "if",
            "f(1,)",
            "99999999999999999999",
            "-1u",
        ),
        *(
            "'\\q'",
            "'\\ud800'",
            "b'\\u00e9'",
            "nosuch(1)",
            "'a'.size(1)",
            "[1].all(x, true)",
            "a{b: 1}",
            "'a'.split('b')",
        ),
        *("'a'.matches('(')", "'a'.matches('a{1000}')", "xds.upstream_host_locality_metadata"),
        *("(" * 500, "[" * 500, "-" * 3 + "x{"),
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        compiled(text)


def test_errors_are_false_to_a_predicate() -> None:
    def holds(text: str) -> bool:
        return as_predicate(compile_node(parse(text), Attributes(Surroundings()), Options()))(stream())

    assert holds("request.path != 'x'")
    assert not holds("request.headers['none'] != 'x'")
    assert not holds("!(request.headers['none'] == 'x')")
    assert not holds("1")


def test_many_alternatives_are_no_deep_tree() -> None:
    assert shown(" || ".join(["request.path == 'x'"] * 2000 + ["true"]), stream()) == "true"


def test_an_expression_of_the_request_is_checked_for_size_too() -> None:
    info = stream()
    assert info.request is not None
    info.request["x-a"] = "a{1000}"
    assert shown("'a'.matches(request.headers['x-a'])", info) is None


def call(function: str, *arguments: Any, target: Any = None) -> dict[str, Any]:
    return {"callExpr": {"function": function, "args": list(arguments), **({"target": target} if target else {})}}


def test_a_tree_means_what_its_text_means() -> None:
    path = {"selectExpr": {"operand": {"identExpr": {"name": "request"}}, "field": "path"}}
    starts = call("startsWith", {"constExpr": {"stringValue": "/a"}}, target=path)
    items = {"listExpr": {"elements": [{"constExpr": {"int64Value": "1"}}, {"constExpr": {"uint64Value": "2"}}]}}
    message = json_format.ParseDict(
        call("_&&_", starts, call("@in", {"constExpr": {"doubleValue": 2.0}}, items)), syntax_pb2.Expr()
    )
    assert read_expression(message) == parse("request.path.startsWith('/a') && 2.0 in [1, 2u]")


def test_a_tree_with_a_comprehension_is_refused() -> None:
    message = json_format.ParseDict({"comprehensionExpr": {"iterVar": "x"}}, syntax_pb2.Expr())
    with pytest.raises(ExpressionError, match="Comprehension"):
        read_expression(message)


_PIECES = st.sampled_from(
    (
        *(
            "request",
            "response",
            ".path",
            ".headers",
            "['x-a']",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            "?",
            "&&",
            "||",
        ),
        *(
            "!",
            "-",
            "+",
            "*",
            "/",
            "%",
            "==",
            "!=",
            "<",
            "in",
            "has(",
            "size(",
            "1",
            "2u",
            "1.5",
            "'a'",
            "b'x'",
            "true",
        ),
        *("null", ".matches(", "duration(", "timestamp(", "type(", "metadata", ".filter_metadata"),
    )
)


@settings(max_examples=300)
@given(st.lists(_PIECES, max_size=12).map(" ".join))
def test_nothing_but_a_refusal_comes_of_any_text(text: str) -> None:
    try:
        evaluate = compiled(text, ALL)
    except ExpressionError:
        return
    value = evaluate(stream())
    if value is not MISSING:
        text_of(value)
        plain_of(value)
