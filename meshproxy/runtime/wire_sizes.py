"""What Envoy counts as the bytes of a message on the wire, for access logs that ask for them.

Few logs do, and noting bytes costs something with every read and write, so connections get a meter only if some format
has one of those operators (`Worker.measures`). The meters of clients' connections are in the
package `downstream`, those of hosts' connections in `upstream`.

HTTP/1: a head counts without its first line and its end; of a head that was received each field counts its name, its
value and three bytes more, whatever stood between them on the wire.

HTTP/2: see `http2_sizes`, which few programs import.
"""

from __future__ import annotations

from meshproxy.headers import Headers, RequestHeaders

_BESIDE_FIELD = 3
SIZE_OF_STATUS = len(":status200")


def size_of_received(head: Headers, end: bool) -> int:
    """What Envoy counts of a head that was received. end: no chunks follow."""
    size = sum(len(name) + len(value) + _BESIDE_FIELD for name, value in head.items())
    if isinstance(head, RequestHeaders) and head.authority:
        size += len("host") + len(head.authority) + _BESIDE_FIELD
    if not end and "content-length" not in head.fields:
        size += len("transfer-encoding") + len("chunked") + _BESIDE_FIELD  # which the codec has taken out
    return size


def size_of_sent(head: bytes) -> int:
    """What Envoy counts of a head that was sent; `head` may have a body behind it."""
    return head.index(b"\r\n\r\n") - head.index(b"\r\n")


def size_of_fields(headers: Headers) -> int:
    """What Envoy counts of fields before HPACK made them smaller."""
    return sum(len(name) + len(value) for name, value in headers.items())


def size_of_request_fields(request: RequestHeaders) -> int:
    """The same of a whole head, pseudo-headers included."""
    pseudo = (
        (":method", request.method),
        (":path", request.path),
        (":scheme", request.scheme),
        (":authority", request.authority),
    )
    return sum(len(name) + len(value) for name, value in pseudo if value) + size_of_fields(request)
