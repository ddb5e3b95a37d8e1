"""ext_proc: what the service is told, what its answers do, and what becomes of its failures."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse
from google.protobuf.json_format import ParseDict

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.ext_proc.ext_proc import ExtProc

PARTIAL = {"request_body_mode": "BUFFERED_PARTIAL", "response_body_mode": "BUFFERED_PARTIAL"}
Script = Callable[[str, ProcessingRequest], dict[str, Any] | None]


class Service:
    """A processor by script: it answers each message with the kind asked for unless the script says more."""

    def __init__(self, script: Script) -> None:
        self.seen: list[ProcessingRequest] = []
        self._script = script

    def __call__(self, data: bytes) -> Sequence[bytes] | None:
        message = ProcessingRequest.FromString(data)
        self.seen.append(message)
        kind = message.WhichOneof("request") or ""
        answer = self._script(kind, message)
        if answer is None:
            return None
        return [ParseDict(answer or {kind: {}}, ProcessingResponse()).SerializeToString()]

    @property
    def kinds(self) -> list[str]:
        return [message.WhichOneof("request") or "" for message in self.seen]


def processed(script: Script | None = None, **config: Any) -> tuple[FilterHarness, Service]:
    service = Service(script or (lambda kind, message: {}))
    config = {"grpc_service": {"envoy_grpc": {"cluster_name": "p"}}, **config}
    harness = FilterHarness(ExtProc, config, clusters=["p"])
    harness.cluster("p").converses(service)
    return harness, service


def raw(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def setting(kind: str, name: str, value: str) -> Script:
    change = {"response": {"header_mutation": {"set_headers": [{"header": {"key": name, "raw_value": raw(value)}}]}}}
    return lambda asked, message: {kind: change} if asked == kind else {}


def test_headers_are_changed_on_both_ways() -> None:
    harness, service = processed(setting("request_headers", "x-n", "1"))
    exchange = harness.request()
    assert exchange.upstream_headers["x-n"] == "1"
    exchange.respond(200)
    assert service.kinds == ["request_headers", "response_headers"]
    assert service.seen[0].HasField("protocol_config")
    assert not service.seen[1].HasField("protocol_config")


@pytest.mark.parametrize(("name", "value"), [("host", "evil"), (":method", "PUT"), ("x-envoy-a", "1")])
def test_what_routing_goes_by_is_not_the_service_s_to_change(name: str, value: str) -> None:
    harness, _ = processed(setting("request_headers", name, value))
    exchange = harness.request(authority="h.test")
    assert (exchange.upstream_headers.authority, exchange.upstream_headers.method) == ("h.test", "GET")
    assert name not in exchange.upstream_headers
    assert harness.stats["http.test.ext_proc.rejected_header_mutations"] == 1


@pytest.mark.parametrize(("name", "value"), [("x-a", "a\r\nb"), ("x a", "1"), ("", "1")])
def test_a_field_that_is_none_fails_the_request(name: str, value: str) -> None:
    harness, _ = processed(setting("request_headers", name, value))
    exchange = harness.request()
    assert (exchange.status, exchange.stream.details) == (500, "header_mutation_set_contains_invalid_character")


def changing_bodies(kind: str, message: ProcessingRequest) -> dict[str, Any]:
    return {kind: {"response": {"body_mutation": {"body": "YWJj"}}}} if kind.endswith("_body") else {}


@pytest.mark.parametrize(("mode", "length", "status"), [("BUFFERED", "3", 200), ("BUFFERED", "5", 500)])
def test_a_whole_body_is_as_long_as_the_head_has_said(mode: str, length: str, status: int) -> None:
    harness, service = processed(changing_bodies, processing_mode={"request_body_mode": mode})
    exchange = harness.request("POST", headers={"content-length": length}, body=b"1" * int(length))
    if status == 200:
        exchange.respond(200)
        assert exchange.upstream_body == b"abc"
    assert exchange.status == status
    assert service.seen[1].request_body.body == b"1" * int(length)


def test_a_body_up_to_the_limit_and_the_rest_untouched() -> None:
    harness, service = processed(changing_bodies, processing_mode=PARTIAL)
    big = b"x" * (1 << 20)
    harness.upstream.returns(200, chunks=(big, b"tail"))
    exchange = harness.request("POST", headers={"content-length": str(len(big) + 4)}, chunks=[big, b"rest"])
    assert (exchange.upstream_body, exchange.response_body) == (b"abcrest", b"abctail")
    assert "content-length" not in exchange.upstream_headers
    bodies = [message.request_body for message in service.seen if message.HasField("request_body")]
    assert [(len(body.body), body.end_of_stream) for body in bodies] == [(1 << 20, False)]


@pytest.mark.parametrize("mode", ["STREAMED", "BUFFERED"])
def test_an_observer_is_told_and_not_waited_for(mode: str) -> None:
    harness, service = processed(
        setting("request_headers", "x-n", "1"),
        observability_mode=True,
        deferred_close_timeout="2s",
        processing_mode={"request_body_mode": mode},
    )
    exchange = harness.request("POST", headers={"content-length": "2"}, body=b"12")
    exchange.respond(200)
    assert exchange.upstream_headers["content-length"] == "2"
    assert "x-n" not in exchange.upstream_headers
    told = ["request_body"] if mode == "STREAMED" else []
    assert service.kinds == ["request_headers", *told, "response_headers"]
    assert all(message.observability_mode for message in service.seen)


def test_a_body_for_a_message_without_one() -> None:
    def script(kind: str, message: ProcessingRequest) -> dict[str, Any]:
        change = {"status": "CONTINUE_AND_REPLACE", "body_mutation": {"body": "YWJj"}}
        return {kind: {"response": change}} if kind.endswith("_headers") else {}

    harness, _ = processed(script)
    exchange = harness.request("GET")
    assert (exchange.upstream_body, exchange.response_body) == (b"abc", b"abc")


def test_a_streamed_response_is_held_for_the_answer_to_what_is_here() -> None:
    def script(kind: str, message: ProcessingRequest) -> dict[str, Any]:
        return {"immediate_response": {"status": {"code": "BadGateway"}}} if kind == "response_body" else {}

    harness, service = processed(script, processing_mode={"response_body_mode": "STREAMED"})
    harness.upstream.returns(200, body=b"secret")
    exchange = harness.request()
    assert service.kinds == ["request_headers", "response_headers", "response_body"]
    assert exchange.response_body == b""


def test_a_streamed_body_goes_through_piece_by_piece() -> None:
    harness, service = processed(processing_mode={"request_body_mode": "STREAMED"})
    exchange = harness.request("POST", chunks=[b"a", b"b"])
    assert exchange.upstream_body == b"ab"
    assert service.kinds[1:3] == ["request_body", "request_body"]


def test_an_immediate_response_ends_the_request() -> None:
    answer = {"immediate_response": {"status": {"code": "Forbidden"}, "body": "bm8=", "details": "because"}}
    harness, _ = processed(lambda kind, message: answer)
    exchange = harness.request()
    assert (exchange.status, exchange.response_body) == (403, b"no")
    assert exchange.stream.details == "because"


@pytest.mark.parametrize(("allowed", "status"), [(True, 200), (False, 500)])
def test_a_message_that_nobody_asked_for(allowed: bool, status: int) -> None:
    harness, service = processed(lambda kind, message: {"response_trailers": {}}, failure_mode_allow=allowed)
    exchange = harness.request()
    if allowed:
        exchange.respond(200)
    assert exchange.status == status
    assert len(service.seen) == 1


def test_a_service_that_says_nothing_is_waited_for_only_so_long() -> None:
    harness, _ = processed(message_timeout="0.3s")
    harness.cluster("p").converses(lambda data: [])
    exchange = harness.request()
    assert not exchange.answered
    harness.clock.advance(0.4)
    assert exchange.status == 504
    assert harness.stats["http.test.ext_proc.message_timeouts"] == 1


def test_a_service_that_has_ended_the_call_is_asked_no_more() -> None:
    harness, service = processed(lambda kind, message: None)
    exchange = harness.request()
    exchange.respond(200)
    assert (exchange.status, service.kinds) == (200, ["request_headers"])


def test_a_reply_about_the_response_takes_its_place() -> None:
    def script(kind: str, message: ProcessingRequest) -> dict[str, Any]:
        return {"immediate_response": {"status": {"code": "BadGateway"}}} if kind == "response_headers" else {}

    harness, _ = processed(script)
    exchange = harness.request()
    exchange.respond(200, body=b"secret")
    assert (exchange.status, exchange.response_body) == (502, b"")


@pytest.mark.parametrize("mode", ["FULL_DUPLEX_STREAMED", "GRPC"])
def test_modes_that_are_not_there_are_refused(mode: str) -> None:
    with pytest.raises(ConfigError, match=mode):
        processed(processing_mode={"request_body_mode": mode})
