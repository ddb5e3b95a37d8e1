"""compressor and decompressor: pieces, ends, trailers, and what an attacker may try. Who gets what: tests/parity."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.compression import (
    BadData,
    BrotliDecompressor,
    Decompressor,
    GzipDecompressor,
    ZstdDecompressor,
)
from meshproxy_filters.http.compressor import Compressing
from meshproxy_filters.http.decompressor import Decompressing

NAMES = {"gzip": "Gzip", "brotli": "Brotli", "zstd": "Zstd"}
ENCODINGS = {"gzip": "gzip", "brotli": "br", "zstd": "zstd"}
DECODE = {
    "gzip": lambda data: zlib.decompressobj(31).decompress(data),
    "brotli": lambda data: brotli.Decompressor().process(data),
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}
ENCODE = {"gzip": gzip.compress, "brotli": brotli.compress, "zstd": zstandard.compress}
MAKE: dict[str, Callable[[], Decompressor]] = {
    "gzip": lambda: GzipDecompressor(31, 100),
    "brotli": lambda: BrotliDecompressor(100),
    "zstd": lambda: ZstdDecompressor(100),
}
KINDS = tuple(NAMES)
TEXT = b"the quick brown fox jumps over the lazy dog " * 50


def library(kind: str, direction: str, **config: Any) -> dict[str, Any]:
    message = f"type.googleapis.com/envoy.extensions.compression.{kind}.{direction}.v3.{NAMES[kind]}"
    return {"name": "l", "typed_config": {"@type": message, **config}}


def compressing(kind: str = "gzip", **config: Any) -> FilterHarness:
    return FilterHarness(Compressing, {"compressor_library": library(kind, "compressor"), **config})


def decompressing(kind: str = "gzip", **config: Any) -> FilterHarness:
    return FilterHarness(Decompressing, {"decompressor_library": library(kind, "decompressor"), **config})


@pytest.mark.parametrize("kind", KINDS)
def test_each_piece_can_be_read_at_once(kind: str) -> None:
    harness = compressing(kind)
    pieces = (TEXT, b"more", b"!")
    harness.upstream.returns(200, {"content-type": "text/plain"}, chunks=pieces)
    exchange = harness.request(headers={"accept-encoding": ENCODINGS[kind]})
    sent = exchange.response_chunks
    for count in range(1, 4):
        assert DECODE[kind](b"".join(sent[:count])) == b"".join(pieces[:count])
    assert exchange.response["content-encoding"] == ENCODINGS[kind]
    assert harness.stats[f"http.test.compressor.l.{kind}.total_uncompressed_bytes"] == len(b"".join(pieces))


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_comes_before_the_trailers(kind: str) -> None:
    harness = compressing(kind)
    harness.upstream.returns(200, {"content-type": "text/plain"}, chunks=(TEXT,), trailers={"x-sum": "1"})
    exchange = harness.request(headers={"accept-encoding": ENCODINGS[kind]})
    decompressor: Decompressor = MAKE[kind]()
    assert decompressor.decompress(exchange.response_body) == TEXT
    assert not decompressor.unfinished
    assert exchange.response_trailers is not None


@pytest.mark.parametrize("kind", KINDS)
def test_requests_are_compressed_where_asked_for(kind: str) -> None:
    on = {"common_config": {"enabled": {"default_value": True, "runtime_key": "k"}}}
    exchange = compressing(kind, request_direction_config=on).request("POST", body=TEXT)
    assert DECODE[kind](exchange.upstream_body) == TEXT
    assert exchange.upstream_headers["content-encoding"] == ENCODINGS[kind]
    assert compressing(kind).request("POST", body=TEXT).upstream_body == TEXT


def test_request_trailers_follow_the_end_of_the_compressed_body() -> None:
    on: dict[str, Any] = {"request_direction_config": {}}
    exchange = compressing(**on).request("POST", chunks=(TEXT,), trailers={"x": "y"})
    assert gzip.decompress(exchange.upstream_body) == TEXT


def test_a_file_that_cant_be_compressed_costs_little() -> None:
    harness = compressing()
    harness.upstream.returns(200, {"content-type": "text/plain", "content-length": "29"}, body=b"x" * 29)
    exchange = harness.request(headers={"accept-encoding": "gzip"})
    assert exchange.response_body == b"x" * 29
    assert harness.stats["http.test.compressor.l.gzip.content_length_too_small"] == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_body_cut_anywhere_comes_out_whole(kind: str, step: int) -> None:
    data = ENCODE[kind](TEXT)
    harness = decompressing(kind)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    harness.upstream.returns(200, {"content-encoding": ENCODINGS[kind]}, chunks=pieces)
    exchange = harness.request()
    assert exchange.response_body == TEXT
    assert "content-encoding" not in exchange.response
    assert exchange.upstream_headers["accept-encoding"] == ENCODINGS[kind]
    request = decompressing(kind).request("POST", headers={"content-encoding": ENCODINGS[kind]}, chunks=pieces)
    assert request.upstream_body == TEXT


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_several_members_are_one_body(kind: str) -> None:
    data = ENCODE[kind](b"one ") + ENCODE[kind](b"two")
    assert MAKE[kind]().decompress(data) == b"one two"
    decompressor = MAKE[kind]()
    assert b"".join(decompressor.decompress(bytes([byte])) for byte in data) == b"one two"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", ["garbage", "cut"])
def test_half_a_body_is_none(kind: str, bad: str) -> None:
    data = b"\xffnothing of the kind" if bad == "garbage" else ENCODE[kind](TEXT)[:-5]
    headers = {"content-encoding": ENCODINGS[kind]}
    harness = decompressing(kind)
    exchange = harness.request("POST", headers=headers, body=data)
    assert exchange.status == 400
    assert not exchange.upstream_complete
    assert harness.stats[f"http.test.decompressor.l.{kind}.request.failed"] == 1
    harness.upstream.returns(200, headers, body=data)
    answer = harness.request()
    assert answer.reset == "decompression_failed"
    assert not answer.complete


def bomb(kind: str) -> bytes:
    """50 MB of zeros."""
    zeros = bytes(1 << 20)
    if kind == "gzip":
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        return b"".join(packer.compress(zeros) for _ in range(50)) + packer.flush()
    if kind == "brotli":
        brotli_packer = brotli.Compressor(quality=5)
        return b"".join(brotli_packer.process(zeros) for _ in range(50)) + brotli_packer.finish()
    zstd_packer = zstandard.ZstdCompressor().compressobj()
    return b"".join(zstd_packer.compress(zeros) for _ in range(50)) + zstd_packer.flush()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [64, 1 << 20])
def test_a_bomb_is_refused_before_it_is_in_memory(kind: str, step: int) -> None:
    """CVE-2022-29225, and CVE-2026-48044 for zstd: the ratio holds for the whole body, not for each slice of it."""
    data = bomb(kind)
    decompressor: Decompressor = MAKE[kind]()
    out, told = 0, ""
    tracemalloc.start()
    try:
        try:
            for at in range(0, len(data), step):
                out += len(decompressor.decompress(data[at : at + step]))
        except BadData as error:
            told = str(error)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert "100 times" in told
    assert out <= max(100 * len(data), 1 << 16)


def test_a_bomb_is_a_bad_request_and_a_cut_response() -> None:
    data = bomb("gzip")
    headers = {"content-encoding": "gzip"}
    exchange = decompressing().request("POST", headers=headers, body=data)
    assert (exchange.status, exchange.stream.details) == (400, "decompression_failed")
    assert len(exchange.upstream_body) <= 1 << 16
    harness = decompressing()
    harness.upstream.returns(200, headers, body=data)
    assert harness.request().reset == "decompression_failed"


def test_a_zstd_window_beyond_measure_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packer.compress(bytes(1 << 20)) + packer.flush()
    with pytest.raises(BadData):
        ZstdDecompressor(100_000).decompress(data)


def test_the_ratio_can_be_set() -> None:
    data = gzip.compress(bytes(200_000))
    strict = FilterHarness(
        Decompressing, {"decompressor_library": library("gzip", "decompressor", max_inflate_ratio=50)}
    )
    loose = FilterHarness(
        Decompressing, {"decompressor_library": library("gzip", "decompressor", max_inflate_ratio=1032)}
    )
    headers = {"content-encoding": "gzip"}
    assert strict.request("POST", headers=headers, body=data).status == 400
    assert len(loose.request("POST", headers=headers, body=data).upstream_body) == 200_000


@pytest.mark.parametrize(
    "config",
    [
        {"compressor_library": {"name": "x", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Empty"}}},
        {"compressor_library": library("zstd", "compressor", dictionary={"inline_string": "a"})},
        {"compressor_library": library("brotli", "compressor", disable_literal_context_modeling=True)},
    ],
)
def test_what_isnt_there_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="supported"):
        FilterHarness(Compressing, config)
