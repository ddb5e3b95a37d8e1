"""h11 as the second reader of unusual heads: it must find the very same fields in them (see `h1_guard`)."""

from __future__ import annotations

import h11

from meshproxy.codec.framing import bad_request


def check_request(head: bytes, fields: list[tuple[str, str]]) -> None:
    """head: complete, with its empty line. fields: what we found in it. Raises ProtocolError (400)."""
    _check(h11.Connection(h11.SERVER, max_incomplete_event_size=len(head)), head, fields)


def check_response(head: bytes, fields: list[tuple[str, str]]) -> None:
    """The same for a response."""
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=len(head))
    # h11 reads a response only after a request; this one makes it accept every status, 101 too.
    asked = [("host", ""), ("connection", "upgrade"), ("upgrade", "any")]
    reader.send(h11.Request(method="GET", target="/", headers=asked))
    reader.send(h11.EndOfMessage())
    _check(reader, head, fields)


def _check(reader: h11.Connection, head: bytes, fields: list[tuple[str, str]]) -> None:
    try:
        reader.receive_data(head)
        event = reader.next_event()
    except h11.RemoteProtocolError as error:
        raise bad_request(str(error)) from error
    if not isinstance(event, h11.Request | h11.InformationalResponse | h11.Response):
        raise bad_request("not a message head")
    read = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
    # h11 writes codings in lower case.
    ours = [(name, value.lower() if name == "transfer-encoding" else value) for name, value in fields]
    if sorted(read) != sorted(ours):
        raise bad_request("two readers disagree about the fields")
