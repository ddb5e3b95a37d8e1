"""The configured libraries: which encoding, and how one body's compressor or decompressor is made.

Messages of `envoy.extensions.compression.{gzip,brotli,zstd}.{compressor,decompressor}.v3`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from meshproxy.records import dataclass
from meshproxy_filters.compression import (
    BrotliCompressor,
    BrotliDecompressor,
    Compressor,
    Decompressor,
    GzipCompressor,
    GzipDecompressor,
    ZstdCompressor,
    ZstdDecompressor,
)

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView, TypedView

_PREFIX = "envoy.extensions.compression."
_GZIP_LEVELS = {
    "DEFAULT_COMPRESSION": zlib.Z_DEFAULT_COMPRESSION,
    "BEST_SPEED": 1,
    **{f"COMPRESSION_LEVEL_{level}": level for level in range(1, 10)},
    "BEST_COMPRESSION": 9,
}
_GZIP_STRATEGIES = {
    "DEFAULT_STRATEGY": zlib.Z_DEFAULT_STRATEGY,
    "FILTERED": zlib.Z_FILTERED,
    "HUFFMAN_ONLY": zlib.Z_HUFFMAN_ONLY,
    "RLE": zlib.Z_RLE,
    "FIXED": zlib.Z_FIXED,
}
_GZIP_FORMAT = 16
_RATIO = 100
_MAX_RATIO = 1032  # what deflate can reach at all


@dataclass(frozen=True, slots=True, eq=False)
class CompressorLibrary:
    """encoding: as in `content-encoding`. name: in statistics, with the name of the extension before it."""

    encoding: str
    name: str
    make: Callable[[], Compressor]


@dataclass(frozen=True, slots=True, eq=False)
class DecompressorLibrary:
    """As `CompressorLibrary`."""

    encoding: str
    name: str
    make: Callable[[], Decompressor]


def compile_compressor(view: ConfigView) -> CompressorLibrary:
    """A `TypedExtensionConfig`. Raises ConfigError."""
    label, typed = _typed(view)
    match typed.full_name.removeprefix(_PREFIX):
        case "gzip.compressor.v3.Gzip":
            return CompressorLibrary("gzip", f"{label}.gzip", _gzip(typed.message(typed.full_name)))
        case "brotli.compressor.v3.Brotli":
            return CompressorLibrary("br", f"{label}.brotli", _brotli(typed.message(typed.full_name)))
        case "zstd.compressor.v3.Zstd":
            return CompressorLibrary("zstd", f"{label}.zstd", _zstd(typed.message(typed.full_name)))
    typed.fail(f"'{typed.full_name}' isn't supported by meshproxy; gzip, brotli and zstd are")


def compile_decompressor(view: ConfigView) -> DecompressorLibrary:
    """A `TypedExtensionConfig`. Raises ConfigError."""
    label, typed = _typed(view)
    kind = typed.full_name.removeprefix(_PREFIX)
    if kind == "gzip.decompressor.v3.Gzip":
        gzip = typed.message(typed.full_name)
        gzip.ignore("chunk_size")
        wbits = (gzip.integer("window_bits") or 15) + _GZIP_FORMAT
        ratio = min(gzip.integer("max_inflate_ratio") or _RATIO, _MAX_RATIO)
        return DecompressorLibrary("gzip", f"{label}.gzip", lambda: GzipDecompressor(wbits, ratio))
    if kind == "brotli.decompressor.v3.Brotli":
        typed.message(typed.full_name).ignore("disable_ring_buffer_reallocation", "chunk_size")
        return DecompressorLibrary("br", f"{label}.brotli", lambda: BrotliDecompressor(_RATIO))
    if kind == "zstd.decompressor.v3.Zstd":
        zstd = typed.message(typed.full_name)
        zstd.ignore("chunk_size")
        if zstd.has("dictionaries"):
            zstd.fail("dictionaries aren't supported by meshproxy", "dictionaries")
        return DecompressorLibrary("zstd", f"{label}.zstd", lambda: ZstdDecompressor(_RATIO))
    typed.fail(f"'{typed.full_name}' isn't supported by meshproxy; gzip, brotli and zstd are")


def _typed(view: ConfigView) -> tuple[str, TypedView]:
    typed = view.any("typed_config")
    if typed is None:
        view.fail("'typed_config' is required: a library is found by the type of its configuration")
    return view.text("name"), typed


def _gzip(view: ConfigView) -> Callable[[], Compressor]:
    view.ignore("chunk_size")
    level = _GZIP_LEVELS[view.enum("compression_level")]
    strategy = _GZIP_STRATEGIES[view.enum("compression_strategy")]
    wbits = (view.integer("window_bits") or 12) + _GZIP_FORMAT
    memory = view.integer("memory_level") or 5
    return lambda: GzipCompressor(level, wbits, memory, strategy)


def _brotli(view: ConfigView) -> Callable[[], Compressor]:
    view.ignore("chunk_size")
    if view.boolean("disable_literal_context_modeling"):
        view.fail("it isn't supported by meshproxy", "disable_literal_context_modeling")
    options = {
        "quality": view.integer("quality", 3),
        "lgwin": view.integer("window_bits", 18),
        "lgblock": view.integer("input_block_bits", 24),
        "mode": {"TEXT": 1, "FONT": 2}.get(view.enum("encoder_mode"), 0),
    }
    return lambda: BrotliCompressor(**options)


def _zstd(view: ConfigView) -> Callable[[], Compressor]:
    import zstandard

    view.ignore("chunk_size")
    if view.has("dictionary"):
        view.fail("dictionaries aren't supported by meshproxy", "dictionary")
    strategies = ("DEFAULT", "FAST", "DFAST", "GREEDY", "LAZY", "LAZY2", "BTLAZY2", "BTOPT", "BTULTRA", "BTULTRA2")
    strategy = strategies.index(view.enum("strategy"))
    options = {"strategy": strategy} if strategy else {}
    level = min(view.integer("compression_level", 3), zstandard.MAX_COMPRESSION_LEVEL)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, write_checksum=view.boolean("enable_checksum"), **options
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    return lambda: ZstdCompressor(compressor)
