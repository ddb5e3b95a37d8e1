"""The frames of HTTP/2 (RFC 9113 sections 4, 6 and 7): numbers, and how those without a body are written."""

from __future__ import annotations

from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_SIZE = 9
#: The largest payload that we take: we never announce another MAX_FRAME_SIZE, nor does Envoy.
MAX_FRAME_SIZE = 16_384
LARGEST_FRAME_SIZE = 2**24 - 1
MAX_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535
MAX_SID = 2**31 - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

HEADER_TABLE_SIZE = 1
ENABLE_PUSH = 2
MAX_CONCURRENT_STREAMS = 3
INITIAL_WINDOW_SIZE = 4
MAX_FRAME_SIZE_SETTING = 5
ENABLE_CONNECT_PROTOCOL = 8
NO_RFC7540_PRIORITIES = 9

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
SETTINGS_TIMEOUT = 0x4
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
CONNECT_ERROR = 0xA
ENHANCE_YOUR_CALM = 0xB
INADEQUATE_SECURITY = 0xC
HTTP_1_1_REQUIRED = 0xD

#: Length and type in one word, flags, stream.
_head = Struct(">IBI")
pack_head = _head.pack
unpack_head = _head.unpack_from
_word = Struct(">I").pack
_two_words = Struct(">II").pack
_setting = Struct(">HI")
iter_settings = _setting.iter_unpack

SETTINGS_ACK = pack_head(SETTINGS, ACK, 0)


def rst_stream(sid: int, code: int) -> bytes:
    """RST_STREAM with an error code."""
    return pack_head(4 << 8 | RST_STREAM, 0, sid) + _word(code)


def window_update(sid: int, count: int) -> bytes:
    """WINDOW_UPDATE by `count` bytes; sid 0: of the connection."""
    return pack_head(4 << 8 | WINDOW_UPDATE, 0, sid) + _word(count)


def goaway(last_sid: int, code: int) -> bytes:
    """GOAWAY without debug data."""
    return pack_head(8 << 8 | GOAWAY, 0, 0) + _two_words(last_sid, code)


def ping(payload: bytes, flags: int = 0) -> bytes:
    """PING with eight bytes."""
    return pack_head(8 << 8 | PING, flags, 0) + payload


def settings(values: list[tuple[int, int]]) -> bytes:
    """SETTINGS."""
    return pack_head(len(values) * 6 << 8 | SETTINGS, 0, 0) + b"".join(_setting.pack(*pair) for pair in values)
