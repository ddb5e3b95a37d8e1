"""The static table of HPACK (RFC 7541 appendix A), and its integers (section 5.1)."""

from __future__ import annotations

_TABLE = """\
:authority|
:method|GET
:method|POST
:path|/
:path|/index.html
:scheme|http
:scheme|https
:status|200
:status|204
:status|206
:status|304
:status|400
:status|404
:status|500
accept-charset|
accept-encoding|gzip, deflate
accept-language|
accept-ranges|
accept|
access-control-allow-origin|
age|
allow|
authorization|
cache-control|
content-disposition|
content-encoding|
content-language|
content-length|
content-location|
content-range|
content-type|
cookie|
date|
etag|
expect|
expires|
from|
host|
if-match|
if-modified-since|
if-none-match|
if-range|
if-unmodified-since|
last-modified|
link|
location|
max-forwards|
proxy-authenticate|
proxy-authorization|
range|
referer|
refresh|
retry-after|
server|
set-cookie|
strict-transport-security|
transfer-encoding|
user-agent|
vary|
via|
www-authenticate|"""

Field = tuple[str, str]

#: Index (from 1) -> field; 0 is no index.
FIELDS: tuple[Field, ...] = (("", ""), *((line.split("|")[0], line.split("|")[1]) for line in _TABLE.split("\n")))
#: The first index of the dynamic table.
FIRST_DYNAMIC = len(FIELDS)
#: Name -> its first index.
NAME_INDEX: dict[str, int] = {name: index for index, (name, _) in reversed(list(enumerate(FIELDS))) if name}
#: Field -> its index, for those that have a value.
FIELD_INDEX: dict[Field, int] = {field: index for index, field in enumerate(FIELDS) if field[1]}


class HpackError(ValueError):
    """A block of fields can't be decoded; the connection is lost, for its two ends no longer agree on the tables."""


def encode_integer(value: int, prefix: int, first: int) -> bytes:
    """`value` in a prefix of that many bits, with the bits of `first` above it."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes((first | value,))
    out = bytearray((first | most,))
    value -= most
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    """What follows a prefix that is all ones: the integer, and where it ends. Raises HpackError beyond 2^28.

    Raises IndexError at the end of the block.
    """
    value = prefix
    for shift in (0, 7, 14, 21):
        byte = block[position]
        position += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, position
    raise HpackError("an integer is too large")
