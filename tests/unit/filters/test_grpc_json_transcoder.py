"""grpc_json_transcoder: templates, hostile bodies and pieces. What Envoy does, tests/parity shows."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.grpc_json_transcoder.paths import PathTable, parse_template, unescape
from meshproxy_filters.http.grpc_json_transcoder.transcoder import GrpcJsonTranscoder
from tests.bookshelf import SERVICE, book_message, descriptor_set

GRPC = {"content-type": "application/grpc"}


def transcoding(**config: Any) -> FilterHarness:
    descriptors = base64.b64encode(descriptor_set()).decode()
    return FilterHarness(GrpcJsonTranscoder, {"services": [SERVICE], "proto_descriptor_bin": descriptors, **config})


def framed(message: Any) -> bytes:
    raw: bytes = message.SerializeToString()
    return b"\0" + len(raw).to_bytes(4, "big") + raw


def table(*templates: str, **options: Any) -> PathTable[str]:
    rules = [("GET", parse_template(text), text) for text in templates]
    return PathTable(rules, **{"any_verb": False, "unescape": "ALL_CHARACTERS_EXCEPT_RESERVED", **options})


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("/a", "/a", []),
        ("/a/*", "/a/b", []),
        ("/a/*", "/a/", None),
        ("/a/*", "/a/b/c", None),
        ("/a/**", "/a/b/c", []),
        ("/a/**", "/a", []),
        ("/a/{x}", "/a/b%2Fc", ["b/c"]),
        ("/a/{x=b/*}/d", "/a/b/c/d", ["b/c"]),
        ("/a/{x=b/*}", "/a/b/c%2Fd", ["b/c%2Fd"]),
        ("/{x=**}", "/a/b", ["a/b"]),
        ("/{x.y}/{z}", "/1/2", ["1", "2"]),
        ("/a/{x}:go", "/a/b:go", ["b"]),
        ("/a/{x}", "/a/b:go", ["b:go"]),
        ("/a.b", "/aXb", None),
        ("/", "/", []),
    ],
)
def test_templates(template: str, path: str, values: list[str] | None) -> None:
    found = table(template).find("GET", path)
    assert (None if found is None else [value for _, value in found[1]]) == values


def test_the_most_specific_template_counts() -> None:
    paths = table("/**", "/a/*", "/a/b", "/a/{x=**}", "/*/b")
    for path, template in (
        ("/a/b", "/a/b"),
        ("/a/c", "/a/*"),
        ("/a/c/d", "/a/{x=**}"),
        ("/x/b", "/*/b"),
        ("/x", "/**"),
    ):
        found = paths.find("GET", path)
        assert found is not None
        assert found[0] == template


@pytest.mark.parametrize(
    "text", ["a", "//", "/a//b", "/{", "/{x", "/{}", "/{x.}", "/{x=}", "/{x={y}}", "/a{x}", "/a*", ""]
)
def test_what_is_no_template(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_template(text)


def test_escapes() -> None:
    assert unescape("%2F%41%zz%", "ALL_CHARACTERS_EXCEPT_SLASH") == "%2FA%zz%"
    assert unescape("a+b%2B", plus=True) == "a b+"
    assert unescape("%ff") == "\ufffd"


@pytest.mark.parametrize("body", [b"{", b"[]", b"1", b"[" * 100_000, b"\xff", b'{"id":"x"}', b'{"kind":"NONE"}'])
def test_a_body_that_is_no_message_is_a_bad_request(body: bytes) -> None:
    exchange = transcoding().request("PUT", "/v1/shelves/1", body=body)
    assert exchange.status == 400
    assert not exchange.reached_upstream


@pytest.mark.parametrize(
    "query",
    [
        "shelf=x",
        "shelf=99999999999999999999",
        "filter=1",
        "kind=2x",
    ],
)
def test_a_query_that_binds_to_nothing_is_a_bad_request(query: str) -> None:
    assert transcoding().request("GET", f"/v1/shelves/1?{query}").status == 400


def test_validation() -> None:
    checks = {"reject_unknown_method": True, "reject_binding_body_field_collisions": True}
    harness = transcoding(request_validation_options=checks)
    assert harness.request("GET", "/none").status == 404
    assert harness.request("PUT", "/v1/shelves/1", body=b'{"id":2}').status == 400
    assert harness.request("PUT", "/v1/shelves/1", body=b'{"theme":"t"}').reached_upstream


def test_a_body_beyond_the_limit() -> None:
    harness = transcoding(max_request_body_size=10)
    assert harness.request("PUT", "/v1/shelves/1", body=b'{"theme":"' + b"x" * 20 + b'"}').status == 413


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_messages_of_a_stream_however_they_are_cut(size: int) -> None:
    harness = transcoding()
    data = b"".join(framed(book_message("books.v1.Shelf", id=number)) for number in (1, 2, 3))
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    harness.upstream.returns(200, GRPC, chunks=pieces, trailers={"grpc-status": "0"})
    assert harness.request("GET", "/v1/list/x").response_body == b'[{"id":"1"},{"id":"2"},{"id":"3"}]'


def test_an_answer_that_is_no_message_is_empty() -> None:
    harness = transcoding()
    harness.upstream.returns(200, GRPC, body=b"\0\0\0\0\2\xff\xff", trailers={"grpc-status": "0"})
    exchange = harness.request("GET", "/v1/shelves/1")
    assert (exchange.status, exchange.response_body) == (200, b"")


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"services": ["none"]}, "Could not find 'none'"),
        ({"proto_descriptor_bin": "/w=="}, "Unable to parse proto descriptor"),
        ({"capture_unknown_query_parameters": True}, "capture_unknown_query_parameters"),
    ],
)
def test_refused_configurations(config: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        transcoding(**config)
