"""The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B).

The code is canonical: sorted by length, then by symbol, the codes count upwards, so the lengths say it all.

Decoding goes byte by byte, not bit by bit: a *row* belongs to a node of the code tree in the middle of a symbol, and
row[byte] is the text that the byte completes, and the row of the node where it ends. Rows are plain lists, the quickest
there is, and a row is filled when it's first needed: empty until then, so a look-up in it raises IndexError.
"""

from __future__ import annotations

from typing import Any

# The symbols of each length. EOS (256) has 30 bits too, the last of them all.
_SYMBOLS = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\\xc3\xd0",
    20: b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2",
    21: b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6",
    22: b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    23: b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5"
    b"\xe7\xef",
    24: b"\t\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed",
    25: b"\xc7\xcf\xea\xeb",
    26: b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff",
    27: b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    28: b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f"
    b"\xdc\xf9",
    30: b"\n\r\x16",
}


def _codes() -> dict[int, str]:
    """Symbol -> its code as a string of 0 and 1."""
    codes: dict[int, str] = {}
    code, last = 0, 5
    for length, symbols in _SYMBOLS.items():
        code <<= length - last
        last = length
        for symbol in symbols:
            codes[symbol] = f"{code:0{length}b}"
            code += 1
    return codes


_CODES = _codes()
_EOS = "1" * 30

# text and row, or None for EOS; behind the 256 cells: may a string end here? (mypy can't say that in one type)
_Row = list[Any]


class HuffmanError(ValueError):
    """The bits are no legal coded string: EOS within, or a padding that is too long or not of ones."""


def _tree() -> dict[str, str | None]:
    """Bits on the way to a node -> None; bits of a symbol -> its character."""
    tree: dict[str, str | None] = {bits: chr(symbol) for symbol, bits in _CODES.items()}
    tree[_EOS] = ""
    for bits in list(tree):
        for length in range(len(bits)):
            tree[bits[:length]] = None
    return tree


_TREE = _tree()
_ROWS: dict[str, _Row] = {bits: [] for bits, symbol in _TREE.items() if symbol is None}
_BITS_OF = {id(row): bits for bits, row in _ROWS.items()}
_ROOT = _ROWS[""]


def _fill(row: _Row) -> None:
    """Make the cells of a row: go down the tree along each of the 256 ways."""
    ends = [("", _BITS_OF[id(row)])]
    for _ in range(8):
        after = []
        for text, bits in ends:
            for bit in "01":
                way = bits + bit
                symbol = _TREE.get(way)
                after.append((text, way) if symbol is None else (text + symbol, "" if way != _EOS else _EOS))
        ends = after
    row.extend((text, _ROWS[bits]) if bits in _ROWS else None for text, bits in ends)
    row.append(len(_BITS_OF[id(row)]) < 8 and "0" not in _BITS_OF[id(row)])


def decode(data: bytes) -> str:
    """The coded string as Latin-1 text. Raises HuffmanError."""
    while True:
        text = ""
        row = _ROOT
        try:
            for byte in data:
                part, row = row[byte]
                text += part
            if row[256]:
                return text
        except IndexError:
            _fill(row)
            continue
        except TypeError:
            raise HuffmanError("EOS in a string") from None
        raise HuffmanError("the padding of a string is wrong")


def encode(text: str) -> bytes:
    """Code Latin-1 text, padded with ones."""
    bits = text.translate(_CODES)
    if not bits:
        return b""
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")
