"""Compressing and decompressing in pieces: gzip, brotli and zstd behind one shape.

Theory. A piece of body is compressed and flushed at once, as in Envoy, so that nothing is held back from a reader that
waits for it. Decompressing is where an attacker is: a few bytes may stand for gigabytes. So output is asked for in
bounded chunks, and it may be at most `ratio` times the input so far (with a floor, since a short head of a stream may
well stand for much more): beyond that the data are refused, before they are in memory.

gzip is made by zlib-ng, as in Envoy: 100 us for 15 KiB of JSON, where zlib takes 180 and makes a tenth more of it.
brotli and zstandard are imported when a configuration first names them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from zlib_ng import zlib_ng as zlib

_CHUNK = 1 << 16
_FLOOR = 1 << 16
"""Bytes of output that are nothing to worry about, whatever they came from."""


class BadData(Exception):
    """What came is no such encoding, or too much comes out of it."""


class Compressor(Protocol):
    """One body on its way."""

    def compress(self, data: bytes) -> bytes:
        """What to send for `data`, everything so far included."""

    def compress_last(self, data: bytes) -> bytes:
        """What to send for `data` and the end."""


class Decompressor(Protocol):
    """One body on its way; raises BadData."""

    def decompress(self, data: bytes) -> bytes: ...

    @property
    def unfinished(self) -> bool:
        """Whether the encoding hasn't come to its end."""


class GzipCompressor:
    """`wbits` as for zlib: above 15 a gzip head is written."""

    def __init__(self, level: int, wbits: int, memory: int, strategy: int) -> None:
        self._zlib = zlib.compressobj(level, zlib.DEFLATED, wbits, memory, strategy)

    def compress(self, data: bytes) -> bytes:
        return self._zlib.compress(data) + self._zlib.flush(zlib.Z_SYNC_FLUSH)

    def compress_last(self, data: bytes) -> bytes:
        return self._zlib.compress(data) + self._zlib.flush(zlib.Z_FINISH)


class BrotliCompressor:
    def __init__(self, **options: int) -> None:
        import brotli  # not everybody compresses

        self._brotli = brotli.Compressor(**options)

    def compress(self, data: bytes) -> bytes:
        return bytes(self._brotli.process(data)) + bytes(self._brotli.flush())

    def compress_last(self, data: bytes) -> bytes:
        return bytes(self._brotli.process(data)) + bytes(self._brotli.finish())


class ZstdCompressor:
    """parameters: of the zstandard package."""

    def __init__(self, compressor: Any) -> None:
        import zstandard

        self._flush_block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        self._zstd = compressor.compressobj()

    def compress(self, data: bytes) -> bytes:
        return bytes(self._zstd.compress(data)) + bytes(self._zstd.flush(self._flush_block))

    def compress_last(self, data: bytes) -> bytes:
        return bytes(self._zstd.compress(data)) + bytes(self._zstd.flush())


class _Bounded:
    """What the decompressors have in common: output in chunks, and a bound on all of it."""

    def __init__(self, ratio: int) -> None:
        self._ratio = ratio
        self._in = 0
        self._out = 0

    def _gather(self, data: bytes, first: Callable[[bytes], bytes], more: Callable[[], bytes | None]) -> bytes:
        self._in += len(data)
        bound = max(self._in * self._ratio, _FLOOR)
        pieces: list[bytes] = []
        piece: bytes | None = first(data)
        while piece is not None:
            self._out += len(piece)
            if self._out > bound:
                raise BadData(f"more than {self._ratio} times its size comes out")
            pieces.append(piece)
            piece = more()
        return b"".join(pieces)


class GzipDecompressor(_Bounded):
    """Also several gzip members one after the other, as RFC 1952 allows."""

    def __init__(self, wbits: int, ratio: int) -> None:
        super().__init__(ratio)
        self._wbits = wbits
        self._zlib = zlib.decompressobj(wbits)
        self._begun = False

    def decompress(self, data: bytes) -> bytes:
        self._begun = True
        try:
            return self._gather(data, self._some, self._more)
        except zlib.error as error:  # type: ignore[misc]  # its stubs have it as an instance
            raise BadData(str(error)) from None

    def _some(self, data: bytes) -> bytes:
        if self._zlib.eof and data:
            self._zlib = zlib.decompressobj(self._wbits)
        return self._zlib.decompress(data, _CHUNK)

    def _more(self) -> bytes | None:
        left = self._zlib.unconsumed_tail
        if left:
            return self._zlib.decompress(left, _CHUNK)
        left = self._zlib.unused_data
        if self._zlib.eof and left:
            self._zlib = zlib.decompressobj(self._wbits)
            return self._zlib.decompress(left, _CHUNK)
        return None

    @property
    def unfinished(self) -> bool:
        return self._begun and not self._zlib.eof


class BrotliDecompressor(_Bounded):
    def __init__(self, ratio: int) -> None:
        import brotli

        super().__init__(ratio)
        self._brotli = brotli.Decompressor()
        self._error = brotli.error
        self._begun = False

    def decompress(self, data: bytes) -> bytes:
        self._begun = True
        try:
            return self._gather(data, self._some, self._more)
        except self._error as error:
            raise BadData(str(error)) from None

    def _some(self, data: bytes) -> bytes:
        return bytes(self._brotli.process(data, output_buffer_limit=_CHUNK))

    def _more(self) -> bytes | None:
        return None if self._brotli.can_accept_more_data() or self._brotli.is_finished() else self._some(b"")

    @property
    def unfinished(self) -> bool:
        return self._begun and not self._brotli.is_finished()


class ZstdDecompressor(_Bounded):
    """Windows beyond 8 MiB are refused (RFC 8878 section 3.1.1.1.2 recommends that bound to decoders)."""

    def __init__(self, ratio: int) -> None:
        import zstandard

        super().__init__(ratio)
        self._make = zstandard.ZstdDecompressor(max_window_size=1 << 23)
        self._error = zstandard.ZstdError
        self._zstd = self._make.decompressobj()
        self._begun = False

    def decompress(self, data: bytes) -> bytes:
        self._begun = True
        pieces = []
        try:
            # A compressed block makes at most 128 KiB, and 4 bytes may be a whole one: feed so little that what comes
            # out of one step is bounded too.
            for at in range(0, len(data), _STEP):
                pieces.append(self._gather(data[at : at + _STEP], self._some, self._more))
        except self._error as error:
            raise BadData(str(error)) from None
        return b"".join(pieces)

    def _some(self, data: bytes) -> bytes:
        if self._zstd.eof:
            self._zstd = self._make.decompressobj()
        return bytes(self._zstd.decompress(data))

    def _more(self) -> bytes | None:
        left = self._zstd.unused_data if self._zstd.eof else b""
        return self._some(left) if left else None

    @property
    def unfinished(self) -> bool:
        return self._begun and not self._zstd.eof


_STEP = 1 << 6
