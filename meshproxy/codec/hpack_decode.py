"""HPACK, the reading side (RFC 7541): a block of bytes to a list of fields.

Real connections repeat their fields, so most bytes of a block are indices: one look-up tells both that a byte is an
index into the static table and which field it is. What is checked of a field is checked when its literal is read,
once; fields that come by index have been through it. A literal that isn't of the plain shape (a name that is no token,
a control byte, a name that HTTP/2 forbids) doesn't fail here, for tables must go on in step: it makes the decoder
*odd*, and from then on whoever takes its fields looks at each of them (`h2_fields`). Good peers never do that.

Invariants:
- `size` is at most `max_size`, which is at most `limit`, what our SETTINGS allow once the peer has seen them;
- the memory of a list is bounded by its block: repeated fields are the same objects.
"""

from __future__ import annotations

from collections import deque
from sys import intern

from meshproxy.codec.field_lines import has_control, is_token
from meshproxy.codec.hpack_huffman import HuffmanError
from meshproxy.codec.hpack_huffman import decode as huffman_decode
from meshproxy.codec.hpack_static import FIELDS, FIRST_DYNAMIC, Field, HpackError, decode_integer

NAMES_REMEMBERED = 1024
LONGEST_REMEMBERED_NAME = 64
#: Bytes that a name or a value may take in a block: nghttp2's limit.
LONGEST_STRING = 65_536

#: Coded values of peers that don't use their table come again and again: literals without indexing, and, if the peer
#: has made its table empty (nginx), any.
VALUES_REMEMBERED = 1024
LONGEST_REMEMBERED_VALUE = 40
SECRET = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie"})

#: Names that make a decoder odd: those of one HTTP/1 connection (RFC 9113 section 8.2.2).
FORBIDDEN = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
PSEUDO = frozenset({":method", ":scheme", ":authority", ":path", ":protocol", ":status"})

_TRANSFER_ENCODING = 57
# First byte -> the field of the static table that it names.
_INDEXED: tuple[Field | None, ...] = tuple(
    FIELDS[byte - 128] if 0 < byte - 128 < FIRST_DYNAMIC and byte - 128 != _TRANSFER_ENCODING else None
    for byte in range(256)
)
_NAMES = tuple(name for name, _ in FIELDS)

# Raw name -> its text, of those that are plain: as they are, and Huffman-coded.
_names: dict[bytes, str] = {}
_coded_names: dict[bytes, str] = {}
#: The size of a table before anything is said about it (RFC 7541 section 4.2 with RFC 9113 section 6.5.2).
DEFAULT_TABLE_SIZE = 4096
#: So many fields no message has.
MOST_FIELDS = 10_000
#: Blocks that a decoder remembers, and how long they may be.
BLOCKS_REMEMBERED = 32
LONGEST_REMEMBERED_BLOCK = 256


_coded_values: dict[bytes, str] = {}


def _remember(raw: bytes, value: str) -> None:
    if len(_coded_values) >= VALUES_REMEMBERED:
        _coded_values.clear()
    _coded_values[raw] = value


class TooManyFieldsError(HpackError):
    """A block has so many fields that to read on would be all cost and no use."""


class _Bounded(list[Field]):
    """Takes so many fields and no more."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most

    def append(self, field: Field) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooManyFieldsError("a block of too many fields")
        super().append(field)


class Decoder:
    """The decoder of one connection. most: fields of a block beyond which none is read.

    remembers: keep what blocks mean as long as the table stays as it is. A host's heads and trailers are often the same
        bytes again within a second: that takes 5 % off a gRPC call. Clients' heads hardly ever are.

    odd: some field wasn't of the plain shape; look at each from now on.
    largest: no field that came by index has been larger (name and value).
    """

    __slots__ = (
        "_fields",
        "_known",
        "_must_resize",
        "largest",
        "limit",
        "max_size",
        "most",
        "odd",
        "remembers",
        "size",
    )

    def __init__(self, odd: bool = False, most: int = MOST_FIELDS, *, remembers: bool = False) -> None:
        self.most = most
        self.remembers = remembers
        # Block -> its fields, with the table as it is now. A new dict whenever that changes.
        self._known: dict[bytes, list[Field]] = {}
        # Newest first, as the indices count.
        self._fields: deque[Field] = deque()
        self.size = 0
        self.limit = DEFAULT_TABLE_SIZE
        self.max_size = DEFAULT_TABLE_SIZE
        self._must_resize = False
        self.odd = odd
        self.largest = 64

    def set_limit(self, limit: int) -> None:
        """The peer has acknowledged our HEADER_TABLE_SIZE: its next block says so if its table must shrink."""
        self.limit = limit
        self._must_resize = self.max_size > limit

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a block, in order; nobody changes the list. Raises HpackError; then the decoder is of no use.

        A byte names a field, and a few may make one: without a bound, a block would cost a hundred times its size.
        """
        try:
            if self._must_resize and block[0] & 0xE0 != 0x20:
                raise HpackError("the table must shrink first")
            if not self.remembers:
                return self._decode(block)
            known = self._known
            fields = known.get(block)
            if fields is None:
                fields = self._decode(block)
                if known is self._known and len(block) <= LONGEST_REMEMBERED_BLOCK:
                    if len(known) >= BLOCKS_REMEMBERED:
                        known.clear()
                    known[block] = fields
            return fields
        except IndexError:
            raise HpackError("an index out of the tables, or a block that ends within a field") from None
        except HuffmanError as error:
            raise HpackError(str(error)) from None

    def _decode(self, block: bytes) -> list[Field]:
        fields: list[Field] = [] if len(block) <= self.most else _Bounded(self.most)
        append = fields.append
        indexed = _INDEXED
        dynamic = self._fields
        position = 0
        end = len(block)
        while position < end:
            byte = block[position]
            position += 1
            field = indexed[byte]
            if field is not None:
                append(field)
                continue
            if byte > 189:
                if byte == 255:
                    index, position = decode_integer(block, position, 127)
                    append(dynamic[index - FIRST_DYNAMIC])
                else:
                    append(dynamic[byte - 190])
                continue
            if byte >= 64:
                if byte >= 128:
                    append(self._odd_index(byte))
                    continue
                index = byte & 63
                if index == 63:
                    index, position = decode_integer(block, position, 63)
            elif byte >= 32:
                position = self._resize(block, position, fields)
                continue
            else:
                index = byte & 15
                if index == 15:
                    index, position = decode_integer(block, position, 15)
            # A literal: its name, by index or as a string, then its value.
            if not index:
                name, position = self._name(block, position)
            elif index < FIRST_DYNAMIC:
                name = _NAMES[index]
                if index == _TRANSFER_ENCODING:
                    self.odd = True
            else:
                name = dynamic[index - FIRST_DYNAMIC][0]
            length = block[position]
            position += 1
            if length < 128:
                if length == 127:
                    length, position = self._length(block, position)
                stop = position + length
                if stop > end:
                    raise HpackError("a string is longer than its block")
                value = block[position:stop].decode("latin-1")
            else:
                length -= 128
                if length == 127:
                    length, position = self._length(block, position)
                stop = position + length
                if stop > end:
                    raise HpackError("a string is longer than its block")
                raw = block[position:stop]
                remembered = _coded_values.get(raw)
                value = huffman_decode(raw) if remembered is None else remembered
                if (
                    remembered is None
                    and (byte < 16 or (byte >= 64 and not self.max_size))
                    and length <= LONGEST_REMEMBERED_VALUE
                    and name not in SECRET
                ):
                    _remember(raw, value)
            position = stop
            # isprintable() refuses more than it must, and strip() returns the very same object if nothing is to strip.
            if (not value.isprintable() and has_control(value)) or value.strip(" \t") is not value:
                self.odd = True
            field = (name, value)
            append(field)
            if byte >= 64 and self.max_size:
                self._insert(field)
        return fields

    def _name(self, block: bytes, position: int) -> tuple[str, int]:
        """The literal name at `position`, and where it ends."""
        length = first = block[position]
        position += 1
        length &= 127
        if length == 127:
            length, position = self._length(block, position)
        stop = position + length
        raw = block[position:stop]
        known = _names if first < 128 else _coded_names
        name = known.get(raw)
        if name is not None:
            return name, stop
        if stop > len(block):
            raise HpackError("a name is longer than its block")
        name = raw.decode("latin-1") if first < 128 else huffman_decode(raw)
        if (is_token(name) is None or name.lower() != name or name in FORBIDDEN) and name not in PSEUDO:
            self.odd = True
        elif length <= LONGEST_REMEMBERED_NAME:
            if len(known) >= NAMES_REMEMBERED:
                known.clear()
            name = known[raw] = intern(name)
        return name, stop

    def _length(self, block: bytes, position: int) -> tuple[int, int]:
        """The length of a string that is long."""
        length, position = decode_integer(block, position, 127)
        if length > LONGEST_STRING:
            raise HpackError("a string is too long")
        return length, position

    def _odd_index(self, byte: int) -> Field:
        """The one field of the static table that may not occur. Raises HpackError for the index 0."""
        if byte == 128:
            raise HpackError("the index 0")
        self.odd = True
        return FIELDS[byte - 128]

    def _insert(self, field: Field) -> None:
        if self.remembers:
            self._known = {}
        size = len(field[0]) + len(field[1])
        if size > self.largest:
            self.largest = size
        size += 32
        fields = self._fields
        self.size += size
        while self.size > self.max_size:
            if not fields:
                # The field alone is larger than the table, which is then empty (section 4.4).
                self.size = 0
                return
            name, value = fields.pop()
            self.size -= len(name) + len(value) + 32
        fields.appendleft(field)

    def _resize(self, block: bytes, position: int, before: list[Field]) -> int:
        """A change of the table's size: only in front of all fields, and within what our SETTINGS allow."""
        size = block[position - 1] & 31
        if size == 31:
            size, position = decode_integer(block, position, 31)
        if before or size > self.limit:
            raise HpackError("a change of the table's size that isn't allowed")
        self.max_size = size
        self._must_resize = False
        self._known = {}
        while self.size > size:
            name, value = self._fields.pop()
            self.size -= len(name) + len(value) + 32
        return position
