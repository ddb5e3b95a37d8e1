"""DER as certificates need it (X.690): elements one behind the other, and what the plain ones say.

What a peer sends has been parsed by OpenSSL before, which is lenient about what strings hold; so is this. Whatever
isn't of the right form raises ValueError, and nothing else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

INTEGER, BIT_STRING, OID, SEQUENCE, SET = 0x02, 0x03, 0x06, 0x30, 0x31
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18


class Element(NamedTuple):
    """tag: its first byte; whole: all its bytes; content: those behind tag and length."""

    tag: int
    content: bytes
    whole: bytes


def elements(data: bytes) -> list[Element]:
    """The elements that stand there. Raises ValueError."""
    found = []
    position, end = 0, len(data)
    while position < end:
        start = position
        if end - position < 2 or data[position] & 31 == 31:
            raise ValueError("no DER")
        length = data[position + 1]
        position += 2
        if length & 128:
            count = length & 127
            if not 1 <= count <= 4:
                raise ValueError("no DER")
            length = int.from_bytes(data[position : position + count], "big")
            position += count
        if position + length > end:
            raise ValueError("DER that is cut off")
        content = data[position : position + length]
        position += length
        found.append(Element(data[start], content, data[start:position]))
    return found


def inside(element: Element, tag: int = SEQUENCE) -> list[Element]:
    """The elements of one with this tag. Raises ValueError."""
    if element.tag != tag:
        raise ValueError("an element of another kind")
    return elements(element.content)


def oid_text(content: bytes) -> str:
    """An object identifier with dots. Raises ValueError."""
    if not content or content[-1] & 128:
        raise ValueError("no object identifier")
    numbers, number = [], 0
    for byte in content:
        number = number << 7 | byte & 127
        if not byte & 128:
            numbers.append(number)
            number = 0
    root = min(numbers[0] // 40, 2)
    return ".".join(map(str, (root, numbers[0] - 40 * root, *numbers[1:])))


def integer(element: Element) -> int:
    """Raises ValueError."""
    if element.tag != INTEGER or not element.content:
        raise ValueError("no integer")
    return int.from_bytes(element.content, "big", signed=True)


def seconds(element: Element) -> float:
    """A time, in seconds since 1970. Raises ValueError."""
    text = element.content.decode("ascii")
    if element.tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif element.tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
