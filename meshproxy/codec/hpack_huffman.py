"""The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B).

The code is canonical: sorted by length, then by symbol, the codes count upwards, so the lengths say it all.

Decoding goes byte by byte, not bit by bit: a *row* is a node of the code tree in the middle of a symbol, and row[byte]
is the text that the byte completes and the row where it ends. There are 256 rows with 256 cells each; a cell is made
when it's first needed, so a program that sees ordinary text has a few thousand of them.
"""

from __future__ import annotations

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
_SYMBOL_OF = {bits: chr(symbol) for symbol, bits in _CODES.items()}
_PADDING = frozenset("1" * n for n in range(8))


class HuffmanError(ValueError):
    """The bits are no legal coded string: EOS within, or a padding that is too long or not of ones."""


class Row(dict[int, "tuple[str, Row]"]):
    """A node of the code tree: byte -> (text that it completes, node where it ends).

    bits: the way to this node. final: may a string end here?
    """

    __slots__ = ("bits", "final")

    def __init__(self, bits: str) -> None:
        super().__init__()
        self.bits = bits
        self.final = bits in _PADDING

    def __missing__(self, byte: int) -> tuple[str, Row]:
        text = ""
        bits = self.bits
        for bit in f"{byte:08b}":
            bits += bit
            symbol = _SYMBOL_OF.get(bits)
            if symbol is not None:
                text += symbol
                bits = ""
            elif len(bits) == 30:
                raise HuffmanError("EOS in a string")
        cell = self[byte] = (text, _row(bits))
        return cell


_rows: dict[str, Row] = {}


def _row(bits: str) -> Row:
    row = _rows.get(bits)
    if row is None:
        row = _rows[bits] = Row(bits)
    return row


ROOT = _row("")


def decode(data: bytes) -> str:
    """The coded string as Latin-1 text. Raises HuffmanError."""
    text = ""
    row = ROOT
    for byte in data:
        part, row = row[byte]
        text += part
    if not row.final:
        raise HuffmanError("the padding of a string is wrong")
    return text


def encode(text: str) -> bytes:
    """Code Latin-1 text, padded with ones."""
    bits = text.translate(_CODES)
    if not bits:
        return b""
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")
