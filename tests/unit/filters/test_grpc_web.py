"""grpc_web: what becomes of bodies and trailers, however they are cut."""

from __future__ import annotations

import base64

import pytest

from meshproxy.testing import FilterHarness
from meshproxy_filters.http.grpc_web import GrpcWeb

FRAME = b"\0\0\0\0\5hello"
TRAILERS = b"\x80\0\0\0\x0fgrpc-status:0\r\n"
WEB = {"content-type": "application/grpc-web"}
TEXT = {"content-type": "application/grpc-web-text", "accept": "application/grpc-web-text"}


def web() -> FilterHarness:
    harness = FilterHarness(GrpcWeb, {})
    harness.upstream.returns(
        200, {"content-type": "application/grpc"}, chunks=(FRAME, FRAME[:3], FRAME[3:]), trailers={"grpc-status": "0"}
    )
    return harness


def test_trailers_become_the_last_frame() -> None:
    exchange = web().request("POST", headers=WEB, body=FRAME)
    assert exchange.upstream_headers["content-type"] == "application/grpc"
    assert exchange.upstream_headers["te"] == "trailers"
    assert exchange.response["content-type"] == "application/grpc-web+proto"
    assert exchange.response_body == FRAME + FRAME + TRAILERS
    assert exchange.response_trailers is not None
    assert len(exchange.response_trailers) == 0


@pytest.mark.parametrize("step", [1, 3, 4, 5, 100])
def test_base64_may_be_cut_anywhere(step: int) -> None:
    text = base64.b64encode(FRAME) + base64.b64encode(b"\0\0\0\0\1x")
    chunks = [text[at : at + step] for at in range(0, len(text), step)]
    exchange = web().request("POST", headers=TEXT, chunks=chunks)
    assert exchange.upstream_body == FRAME + b"\0\0\0\0\1x"
    assert exchange.response_body == base64.b64encode(FRAME) * 2 + base64.b64encode(TRAILERS)


@pytest.mark.parametrize("body", [b"AAA", b"!!!!", b"AAAA="])
def test_what_is_no_base64_is_refused(body: bytes) -> None:
    exchange = web().request("POST", headers=TEXT, body=body)
    assert exchange.status == 400
    assert exchange.response["grpc-status"] == "13"
    assert exchange.response["grpc-message"] == "Bad gRPC-web request, invalid base64 data."
    assert exchange.stream.details.startswith("grpc_base_64_decode_failed")
    assert not exchange.upstream_complete


def test_a_page_becomes_a_status() -> None:
    harness = web()
    harness.upstream.returns(503, {"content-type": "text/html"}, chunks=(b"<p>no%\n", b"x" * 30_000))
    exchange = harness.request("POST", headers=WEB, body=FRAME)
    assert exchange.status == 503
    body = exchange.response_body
    assert body[0] == 0x80
    assert int.from_bytes(body[1:5], "big") == len(body) - 5
    assert body[5:].startswith(b"grpc-status:14\r\ngrpc-message:<p>no%25%0Axxx")
    assert len(body) < 16_500


def test_others_pass_as_they_are() -> None:
    exchange = web().request("POST", headers={"content-type": "application/json"}, body=b"{}")
    assert exchange.upstream_headers["content-type"] == "application/json"
    assert exchange.response_body == FRAME + FRAME
