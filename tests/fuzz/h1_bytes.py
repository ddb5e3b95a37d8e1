"""Strategies for HTTP/1 bytes: mutations of real cases, and messages that are well formed."""

from __future__ import annotations

from hypothesis import strategies as st

NASTY = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\r\n ", b"\x00", b"\x0b", b"\x7f", b"\x85", b"\xa0", b"\xb2", b"\xff",
    b"\t", b" ", b":", b",", b";", b"\\", b"#", b"*", b"/", b"0", b"5", b"-1", b"+5", b"0x5", b"1_0",
    b"chunked", b"identity", b"GET ", b"HTTP/1.1", b"HTTP/1.0", b"0\r\n\r\n", b"5\r\nhello\r\n",
    b"Host: b\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"A: b\r\n", b"A_b: c\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n",
    b"Expect: 100-continue\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """One of `originals`, spoilt up to three times."""
    data = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        upto = min(len(data), at + draw(st.integers(0, 8)))
        match draw(st.integers(0, 3)):
            case 0:
                data = data[:at] + data[upto:]
            case 1:
                data = data[:at] + draw(st.sampled_from(NASTY)) + data[at:]
            case 2:
                data = data[:upto] + data[at:]
            case 3:
                lines = data.split(b"\r\n")
                one, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
                lines[one], lines[other] = lines[other], lines[one]
                data = b"\r\n".join(lines)
    return data


_NAMES = st.text("abcdefgh-!#$%&'*+.^_`|~0189", min_size=1, max_size=8).map(str.lower)
_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20).map(
    lambda value: value.strip(" \t")
)

#: Fields of a message, none of which has a meaning to the codec.
field_lists = st.lists(st.tuples(_NAMES, _VALUES), max_size=6)
