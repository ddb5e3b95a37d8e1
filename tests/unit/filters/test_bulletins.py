"""Security bulletins that are about filters, or about what filters decide on; each test names its own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse
from google.protobuf.json_format import ParseDict

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stream_info import StreamInfo, TlsInfo
from meshproxy.telemetry.formatter import compile_json
from meshproxy.telemetry.operand import FormatContext
from meshproxy.testing import FilterHarness
from meshproxy.testing.stream import HarnessStream
from meshproxy_filters.http.cors import Cors
from meshproxy_filters.http.ext_proc.ext_proc import ExtProc
from meshproxy_filters.http.header_mutation import HeaderMutation
from meshproxy_filters.http.rbac import Rbac
from meshproxy_filters.listener.tls_client_hello import ClientHello, read_client_hello
from tests.parity.cases.listeners import client_hello


def denying(value: dict[str, Any], name: str = "x-role", **more: Any) -> FilterHarness:
    permission = {"header": {"name": name, "string_match": value, **more}}
    policy = {"permissions": [permission], "principals": [{"any": True}]}
    return FilterHarness(Rbac, {"rules": {"action": "DENY", "policies": {"p": policy}}})


@pytest.mark.parametrize("value", ["admin\0", "admin\0x", "a\r\nb", "a\nb"])
def test_cve_2019_9900_no_value_has_a_control_byte_in_it(value: str) -> None:
    with pytest.raises(ValueError, match="header field value"):
        RequestHeaders(fields=[("x-role", value)])


@pytest.mark.parametrize("value", ["admin ", " admin", "\tadmin\t", "admin"])
def test_cve_2019_18802_white_space_around_a_value_is_no_part_of_it(value: str) -> None:
    assert denying({"exact": "admin"}).request(headers={"x-role": value}).status == 403


@pytest.mark.parametrize("values", [("a", "b"), ("b", "a"), ("b",), ("c", "b", "c")])
@pytest.mark.parametrize("value", [{"exact": "b"}, {"prefix": "b"}, {"suffix": "b"}, {"safe_regex": {"regex": "b+"}}])
def test_cve_2020_25017_and_cve_2026_26308_each_of_several_values_counts(
    values: tuple[str, ...], value: dict[str, Any]
) -> None:
    fields = [("x-role", each) for each in values]
    assert denying(value).request(headers=fields).status == 403


class Refusing(HttpFilter[None]):
    """Answers at the second piece of a body."""

    seen: int = 0

    @classmethod
    def compile(cls, view: Any, context: Any) -> None: ...

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> LocalReply | None:
        self.seen += 1
        assert self.seen < 3, "a filter that has answered hears of the request again"
        return LocalReply(400, details="enough") if self.seen == 2 else None


def test_cve_2021_43825_after_an_answer_in_the_middle_of_a_body_nothing_more_comes() -> None:
    harness = FilterHarness(Refusing, object())
    exchange = harness.request("POST", chunks=[b"a", b"b", b"c", b"d"])
    assert (exchange.status, exchange.stream.details) == (400, "enough")
    assert exchange.upstream_chunks == [b"a"]
    assert not exchange.upstream_complete


def test_cve_2023_27493_a_name_in_a_certificate_makes_no_header_lines() -> None:
    append = {"append": {"header": {"key": "x-peer", "value": "%DOWNSTREAM_PEER_URI_SAN%"}}}
    harness = FilterHarness(HeaderMutation, {"mutations": {"request_mutations": [append]}})

    def over_tls(stream: HarnessStream) -> None:
        stream.connection.tls = tls = TlsInfo()
        tls.peer_uri_sans = ("spiffe://a\r\nx-admin: true",)

    exchange = harness.request(prepare=over_tls)
    assert "x-admin" not in exchange.upstream_headers
    assert "\n" not in (exchange.upstream_headers.get("x-peer") or "")


_CORS = "envoy.extensions.filters.http.cors.v3."


class WithoutOrigin(Cors):
    """Takes the origin away when CORS has seen it."""

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> Any:
        result = super().on_request_headers(request, stream)
        request.remove("origin")
        return result


def test_cve_2023_35943_the_origin_may_be_gone_when_the_response_comes() -> None:
    policy = {
        "@type": f"{_CORS}CorsPolicy",
        "allow_origin_string_match": [{"exact": "http://a"}],
    }
    exchange = FilterHarness(WithoutOrigin, {"@type": f"{_CORS}Cors"}, route_config=policy).request(
        headers={"origin": "http://a"}
    )
    exchange.respond(200)
    assert exchange.response["access-control-allow-origin"] == "http://a"


@pytest.mark.parametrize("value", ["\xff\xfe", "a\x80", "\xc3\xa9", "\xf0\x9f\x98\x80", '"\\'])
def test_cve_2024_34363_a_value_that_is_no_utf_8_leaves_a_json_log_whole(value: str) -> None:
    info = StreamInfo()
    info.request = RequestHeaders(fields=[("x-a", value)])
    info.response = ResponseHeaders(200, [("x-b", value)])
    template = {"a": "%REQ(x-a)%", "b": "x %RESP(x-b)%", "c": "%CEL(request.headers['x-a'])%"}
    template["d"] = "%TYPED_CEL(request.headers)%"
    line = compile_json(template, FormatContext()).render(info).encode("latin-1")
    assert json.loads(line).keys() == {"a", "b", "c", "d"}
    assert line.count(b"\n") == 1


@pytest.mark.parametrize("name", ["a\nb", "a\r\n200 forged", "a b", "\x1b[2J", "a\tb"])
def test_cve_2024_45808_a_server_name_makes_no_lines_in_a_log(name: str) -> None:
    found = read_client_hello(client_hello(name))
    assert isinstance(found, ClientHello)
    assert found.server_name == ""


def test_cve_2025_30157_an_answer_of_a_processor_to_an_upgrade() -> None:
    def refuse(data: bytes) -> list[bytes]:
        kind = ProcessingRequest.FromString(data).WhichOneof("request") or ""
        answer: dict[str, Any] = {kind: {}}
        if kind == "response_headers":
            answer = {"immediate_response": {"status": {"code": "Forbidden"}}}
        return [ParseDict(answer, ProcessingResponse()).SerializeToString()]

    harness = FilterHarness(ExtProc, {"grpc_service": {"envoy_grpc": {"cluster_name": "p"}}}, clusters=["p"])
    harness.cluster("p").converses(refuse)
    exchange = harness.request(headers={"connection": "upgrade", "upgrade": "websocket"}, end=False)
    exchange.respond(101, {"connection": "upgrade", "upgrade": "websocket"})
    assert exchange.status == 403
