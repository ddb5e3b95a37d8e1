"""ext_proc: what the service is told, what its answers do, and what becomes of its failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse
from google.protobuf.json_format import ParseDict

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.ext_proc import ExtProc

BOTH = {"request_body_mode": "BUFFERED", "response_body_mode": "BUFFERED"}
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


def setting(kind: str, name: str, value: str) -> Script:
    change = {"response": {"header_mutation": {"set_headers": [{"header": {"key": name, "value": value}}]}}}
    return lambda asked, message: {kind: change} if asked == kind else {}


def test_headers_are_changed_on_both_ways() -> None:
    harness, service = processed(setting("request_headers", "x-n", "1"))
    exchange = harness.request()
    assert exchange.upstream_headers["x-n"] == "1"
    exchange.respond(200)
    assert service.kinds == ["request_headers", "response_headers"]
    assert service.seen[0].HasField("protocol_config")
    assert not service.seen[1].HasField("protocol_config")


@pytest.mark.parametrize(
    ("name", "value"), [("host", "evil"), (":method", "PUT"), ("x-envoy-a", "1"), ("x-a", "a\r\nb")]
)
def test_what_routing_goes_by_is_not_the_service_s_to_change(name: str, value: str) -> None:
    harness, _ = processed(setting("request_headers", name, value))
    exchange = harness.request(authority="h.test")
    assert (exchange.upstream_headers.authority, exchange.upstream_headers.method) == ("h.test", "GET")
    assert name not in exchange.upstream_headers
    assert harness.stats["http.test.ext_proc.rejected_header_mutations"] == 1


def test_a_whole_body_gets_its_new_length() -> None:
    def script(kind: str, message: ProcessingRequest) -> dict[str, Any]:
        return {kind: {"response": {"body_mutation": {"body": "YWJj"}}}} if kind == "request_body" else {}

    harness, service = processed(script, processing_mode=BOTH)
    exchange = harness.request("POST", headers={"content-length": "5"}, body=b"12345")
    assert (exchange.upstream_body, exchange.upstream_headers["content-length"]) == (b"abc", "3")
    assert service.seen[1].request_body.body == b"12345"


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


@pytest.mark.parametrize("mode", ["BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"])
def test_modes_that_are_not_there_are_refused(mode: str) -> None:
    with pytest.raises(ConfigError, match=mode):
        processed(processing_mode={"request_body_mode": mode})
