"""HPACK: the examples of RFC 7541 appendix C, and the library `hpack` as the other end."""

from __future__ import annotations

import random

import hpack
import pytest

from meshproxy.codec.hpack_decode import Decoder
from meshproxy.codec.hpack_encode import Encoder
from meshproxy.codec.hpack_huffman import HuffmanError
from meshproxy.codec.hpack_huffman import decode as huffman_decode
from meshproxy.codec.hpack_huffman import encode as huffman_encode
from meshproxy.codec.hpack_static import HpackError, encode_integer

Fields = list[tuple[str, str]]

FIRST: Fields = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
]
SECOND: Fields = [*FIRST, ("cache-control", "no-cache")]
THIRD: Fields = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
]
COOKIE = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
ANSWER: Fields = [
    (":status", "302"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
]
ANSWER_2: Fields = [(":status", "307"), *ANSWER[1:]]
ANSWER_3: Fields = [
    (":status", "200"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
    ("location", "https://www.example.com"),
    ("content-encoding", "gzip"),
    ("set-cookie", COOKIE),
]


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", [("custom-key", "custom-header")]),
        ("040c 2f73 616d 706c 652f 7061 7468", [(":path", "/sample/path")]),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", [("password", "secret")]),
        ("82", [(":method", "GET")]),
    ],
)
def test_single_fields(block: str, fields: Fields) -> None:
    assert Decoder().decode(bytes.fromhex(block)) == fields


@pytest.mark.parametrize(
    "blocks",
    [
        (
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ),
        (
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ),
    ],
    ids=["C.3", "C.4"],
)
def test_requests(blocks: tuple[str, ...]) -> None:
    decoder = Decoder()
    assert [decoder.decode(bytes.fromhex(block)) for block in blocks] == [FIRST, SECOND, THIRD]
    assert decoder.size == 164
    assert not decoder.odd


@pytest.mark.parametrize(
    "blocks",
    [
        (
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32"
            "3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970"
            "7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61"
            "6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        ),
        (
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad"
            "1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2"
            "e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ),
    ],
    ids=["C.5", "C.6"],
)
def test_responses_in_a_table_of_256_bytes(blocks: tuple[str, ...]) -> None:
    decoder = Decoder()
    decoder.decode(encode_integer(256, 5, 0x20))
    assert [decoder.decode(bytes.fromhex(block)) for block in blocks] == [ANSWER, ANSWER_2, ANSWER_3]
    assert decoder.size == 215


def test_huffman_both_ways() -> None:
    source = random.Random(1)
    coder = hpack.huffman.HuffmanEncoder(
        hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH
    )
    for size in range(200):
        text = "".join(chr(source.randrange(256)) for _ in range(size))
        coded = huffman_encode(text)
        assert coded == coder.encode(text.encode("latin-1"))
        assert huffman_decode(coded) == text


@pytest.mark.parametrize("coded", [b"\xff\xff\xff\xff", b"\x18", b"\x1f\xff", b"\xff"])
def test_huffman_faults(coded: bytes) -> None:
    with pytest.raises(HuffmanError):
        huffman_decode(coded)


def test_our_blocks_mean_the_same_to_hpack() -> None:
    source = random.Random(2)
    ours, theirs = Encoder(), hpack.Decoder()
    usual: Fields = [("accept", "*/*"), ("user-agent", "mesh/1"), ("te", "trailers"), ("cookie", "a=1")]
    smaller = False
    for _ in range(500):
        fields: Fields = [(":path", f"/{source.randrange(50)}"), *usual]
        fields += [(source.choice("abc") * source.randrange(1, 200), "v\xe9" * source.randrange(300))]
        if source.random() < 0.05:
            ours.allow(source.choice([0, 60, 500, 4096, 65536]))
            smaller = True
        decoded = theirs.decode(ours.encode(fields), raw=True)
        assert [(name.decode("latin-1"), value.decode("latin-1")) for name, value in decoded] == fields
    assert smaller


def test_what_repeats_is_indexed_and_what_is_secret_is_not() -> None:
    encoder = Encoder()
    fields: Fields = [("user-agent", "mesh/1"), ("x-tenant", "blue"), ("authorization", "Bearer x"), (":path", "/a")]
    sizes = [len(encoder.encode(fields)) for _ in range(3)]
    assert sizes[2] < sizes[0]
    last = encoder.encode(fields)
    assert b"Bearer x" in last
    assert b"\x1f\x08" in last  # never indexed, name 23
    assert b"blue" not in last
    assert b"/a" in last


def test_fresh_values_leave_the_table_alone() -> None:
    encoder = Encoder()
    fixed = ("x-tenant", "blue")
    for _ in range(3):
        encoder.encode([fixed])
    for number in range(5000):
        encoder.encode([("x-id", str(number))])
    assert len(encoder.encode([fixed])) == 1


def test_names_of_http1_are_left_out() -> None:
    fields: Fields = [("connection", "close"), ("x", "1"), ("transfer-encoding", "chunked"), ("upgrade", "a")]
    assert Decoder().decode(Encoder().encode(fields)) == [("x", "1")]


def test_their_blocks_mean_the_same_to_us() -> None:
    source = random.Random(3)
    theirs, ours = hpack.Encoder(), Decoder()
    for _ in range(500):
        fields = [(f"x-{source.randrange(20)}", "v" * source.randrange(100)) for _ in range(source.randrange(12))]
        if source.random() < 0.05:
            theirs.header_table_size = source.choice([0, 100, 1000, 4096])
        assert ours.decode(theirs.encode(fields, huffman=source.random() < 0.5)) == fields


def test_blocks_of_a_peer_with_an_empty_table() -> None:
    """nginx says that its table has no bytes, and then writes literals that would enter it."""

    def literal(index: int, value: str) -> bytes:
        coded = huffman_encode(value)
        return bytes([0x40 | index, 0x80 | len(coded)]) + coded

    decoder = Decoder()
    for day in ("Mon", "Tue", "Mon", "Mon"):
        block = b"\x20\x88" + literal(54, "nginx") + literal(33, f"{day}, 21 Oct 2013") + literal(55, f"id={day}")
        fields = [(":status", "200"), ("server", "nginx"), ("date", f"{day}, 21 Oct 2013"), ("set-cookie", f"id={day}")]
        assert decoder.decode(block) == fields
    assert decoder.size == 0
    with pytest.raises(HpackError):
        decoder.decode(b"\xbe")


def test_remembered_blocks_follow_the_table() -> None:
    """A block that was seen before means what it means now, whatever has entered the table since."""
    source = random.Random(5)
    theirs = hpack.Encoder()
    ours, plain = Decoder(remembers=True), Decoder()
    for _ in range(2000):
        fields = [(f"x-{source.randrange(5)}", "v" * source.randrange(3)) for _ in range(source.randrange(4))]
        if source.random() < 0.02:
            theirs.header_table_size = source.choice([0, 100, 4096])
        block = theirs.encode(fields, huffman=source.random() < 0.5)
        assert ours.decode(block) == plain.decode(block) == fields
    ours = Decoder(remembers=True)
    block = b"\x40\x01x\x011"  # enters the table, each time
    for _ in range(3):
        assert ours.decode(block) == [("x", "1")]
    assert ours.decode(b"\xbe\xbf\xc0") == [("x", "1")] * 3


def test_a_lower_limit_must_be_announced() -> None:
    decoder = Decoder()
    decoder.set_limit(100)
    with pytest.raises(HpackError):
        decoder.decode(b"\x82")
    decoder = Decoder()
    decoder.set_limit(100)
    assert decoder.decode(b"\x20\x3f\x45\x82") == [(":method", "GET")]
    with pytest.raises(HpackError):
        decoder.decode(encode_integer(101, 5, 0x20))


def test_a_plain_name_is_not_taken_for_a_coded_one() -> None:
    """The names that are remembered are told apart by how they were sent."""
    coded = huffman_encode("x-secret")
    decoder = Decoder()
    decoder.decode(b"\x00" + bytes((128 + len(coded),)) + coded + b"\x011")
    for raw in (coded, bytes((128 + len(coded),)) + coded):
        fields = decoder.decode(b"\x00" + bytes((len(raw),)) + raw + b"\x011")
        assert fields == [(raw.decode("latin-1"), "1")]
        assert decoder.odd


@pytest.mark.parametrize(
    ("name", "value", "odd"),
    [
        ("x-plain", "value", False),
        ("x-plain", "tab\tand \xe9", False),
        ("X-Upper", "1", True),
        ("x plain", "1", True),
        ("", "1", True),
        ("x-nul", "a\0", True),
        ("x-lf", "a\nb", True),
        ("x-edge", " a", True),
        ("connection", "close", True),
        (":unknown", "1", True),
        (":path", "/", False),
    ],
)
def test_what_makes_a_decoder_odd(name: str, value: str, odd: bool) -> None:
    def string(text: str) -> bytes:
        return bytes((len(text),)) + text.encode("latin-1")

    decoder = Decoder()
    assert decoder.decode(b"\x40" + string(name) + string(value)) == [(name, value)]
    assert decoder.odd is odd
    assert decoder.decode(b"\xbe") == [(name, value)]
    assert decoder.odd is odd
