"""HPACK, the writing side (RFC 7541): a list of fields to a block of bytes.

What enters the dynamic table is what repeats: a field goes there when it's seen for the second time within a short
while. So fresh values (paths, request ids, dates) never push out the ones that serve each message, without a list of
names. Credentials and cookies never enter it, and are marked so that no proxy behind us does otherwise (section 7.1.3).

Strings are Huffman-coded only on their way into the table, once per connection: coding costs more than copying, and
between neighbours bytes are cheaper than time.

Invariant: the peer's decoder has the same table, so every block that is made must be sent, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from meshproxy.codec.hpack_decode import DEFAULT_TABLE_SIZE, FORBIDDEN
from meshproxy.codec.hpack_huffman import encode as huffman
from meshproxy.codec.hpack_static import FIELD_INDEX, FIRST_DYNAMIC, NAME_INDEX, Field, encode_integer

#: How many fresh fields are kept in mind, to see whether they come again.
CANDIDATES = 128
NAMES_REMEMBERED = 1024
LONGEST_REMEMBERED_NAME = 64
#: Longer values aren't worth a place in the table.
LONGEST_INDEXED_VALUE = 1024

_SECRET = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token"}
    | {"x-amz-security-token", "x-csrf-token", "x-xsrf-token", "x-forwarded-client-cert"}
)
# Not worth a look in the candidates.
_FRESH = frozenset({":path", "content-length", "x-request-id", "traceparent", "etag", "last-modified"})

_BYTES = tuple(bytes((n,)) for n in range(256))

# Name -> how it begins a literal that isn't indexed (b"": HTTP/2 forbids the name), how one that is, and whether its
# values may be indexed.
_Rule = tuple[bytes, bytes, bool]
_rules: dict[str, _Rule] = {}


def _string(text: str) -> bytes:
    coded = huffman(text)
    return encode_integer(len(coded), 7, 0x80) + coded


def _rule(name: str) -> _Rule:
    rule: _Rule
    if name in FORBIDDEN:
        rule = (b"", b"", False)
    else:
        secret = name in _SECRET
        first = 0x10 if secret else 0
        index = NAME_INDEX.get(name)
        if index is None:
            raw = name.encode("latin-1")
            rule = (_BYTES[first] + encode_integer(len(raw), 7, 0) + raw, b"\x40" + _string(name), not secret)
        else:
            rule = (encode_integer(index, 4, first), encode_integer(index, 6, 0x40), not secret)
        if name in _FRESH:
            rule = (rule[0], rule[1], False)
    if len(name) <= LONGEST_REMEMBERED_NAME:
        if len(_rules) >= NAMES_REMEMBERED:
            _rules.clear()
        _rules[name] = rule
    return rule


class Encoder:
    """The encoder of one connection.

    wanted: the size of the table that we'd use if the peer allows it.
    """

    __slots__ = ("_base", "_candidates", "_fields", "_numbers", "_resize", "_size", "max_size", "wanted")

    def __init__(self, wanted: int = DEFAULT_TABLE_SIZE) -> None:
        self.wanted = wanted
        self.max_size = DEFAULT_TABLE_SIZE
        # Oldest first. The n-th field that ever entered has the number n; its index is _base - n.
        self._fields: deque[Field] = deque()
        self._numbers: dict[Field, int] = {}
        self._base = FIRST_DYNAMIC - 1
        self._size = 0
        # Hashes of fresh fields: a collision only indexes a field too early.
        self._candidates: set[int] = set()
        # Changes of the size that the next block announces: the smallest one in between, and the last.
        self._resize: list[int] = []
        if wanted < DEFAULT_TABLE_SIZE:
            self.allow(DEFAULT_TABLE_SIZE)

    def allow(self, limit: int) -> None:
        """The peer's decoder takes a table of so many bytes."""
        size = min(limit, self.wanted)
        if size == self.max_size:
            return
        if self._resize:
            self._resize = [min(self._resize[0], size), size]
        else:
            self._resize = [size]
        self.max_size = size
        self._evict()

    def encode(self, fields: Iterable[Field], start: bytes = b"") -> bytes:
        """One block, whose first fields `start` holds already encoded. Names that HTTP/2 forbids are left out.

        Names are lower-case; names and values Latin-1.
        """
        out = bytearray(start)
        if self._resize:
            out[:0] = b"".join(encode_integer(size, 5, 0x20) for size in dict.fromkeys(self._resize))
            self._resize = []
        append = out.append
        number_of = self._numbers.get
        # The first byte of an index; 255 and more has others behind it.
        base = self._base + 128
        for field in fields:
            number = number_of(field)
            if number is not None:
                first = base - number
                if first < 255:
                    append(first)
                else:
                    out += encode_integer(first - 128, 7, 0x80)
                continue
            name, value = field
            literal, indexed, may_repeat = _rules.get(name) or _rule(name)
            if not literal:
                continue
            if may_repeat:
                candidates = self._candidates
                key = hash(field)
                if key in candidates and len(value) <= LONGEST_INDEXED_VALUE:
                    index = FIELD_INDEX.get(field, 0)
                    if index:
                        append(128 + index)
                        continue
                    out += indexed
                    out += _string(value)
                    self._insert(field)
                    base = self._base + 128
                    continue
                if len(candidates) >= CANDIDATES:
                    candidates.clear()
                candidates.add(key)
            out += literal
            raw = value.encode("latin-1")
            length = len(raw)
            if length < 127:
                append(length)
            else:
                out += encode_integer(length, 7, 0)
            out += raw
        return bytes(out)

    def _insert(self, field: Field) -> None:
        self._base += 1
        self._numbers[field] = self._base - FIRST_DYNAMIC
        self._fields.append(field)
        self._size += len(field[0]) + len(field[1]) + 32
        self._evict()

    def _evict(self) -> None:
        fields = self._fields
        while self._size > self.max_size:
            field = fields.popleft()
            del self._numbers[field]
            self._size -= len(field[0]) + len(field[1]) + 32
