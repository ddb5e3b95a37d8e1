"""Floods: what an attacker sends to make a server work, or hold memory, out of all proportion (CVE-2019-9511 to -9518,
CVE-2023-44487, CVE-2024-27316, CVE-2025-8671 and their kin).

end: "closed" if the server has to end the connection; "bounded" if it may also bear it, since it costs no more than the
attacker pays. reads: whether the attacker reads the answers. counter: the `http2.` counter that Envoy raises.
"""

from __future__ import annotations

from dataclasses import dataclass

from .h2_wire import (
    ACK,
    CONTINUATION,
    GOAWAY,
    HEADERS,
    PADDED,
    SETTINGS,
    block,
    data,
    frame,
    get,
    headers,
    ping,
    post,
    priority,
    request,
    rst,
    settings,
    window_update,
)


@dataclass(frozen=True)
class Flood:
    name: str
    what: str
    send: bytes
    end: str = "closed"
    reads: bool = True
    counter: str = ""


def sids(count: int) -> range:
    return range(1, 2 * count + 1, 2)


MANY = 30_000
BIG_FIELD = b"\x40\x01x\x7f\x81\x1e" + b"v" * 3968
HEAD = b"\x82\x86\x84\x41\x01a"
FLOODS = [
    Flood("f.ping", "PING, answers unread", ping() * MANY, reads=False, counter="outbound_control_flood"),
    Flood("f.settings", "SETTINGS", settings((4, 1)) * MANY, reads=False, counter="outbound_control_flood"),
    Flood(
        "f.settings.window",
        "INITIAL_WINDOW_SIZE up and down under open streams",
        b"".join(post(sid) for sid in sids(100)) + settings(*[(4, 1), (4, 2**20)] * 15) * 5000,
        "bounded",
    ),
    Flood("f.rapidreset", "requests that are reset at once", b"".join(get(sid) + rst(sid) for sid in sids(5000))),
    Flood(
        "f.madeyoureset",
        "requests that make us reset them",
        b"".join(post(sid) + window_update(sid, 0) for sid in sids(5000)),
    ),
    Flood(
        "f.empty.data",
        "empty DATA",
        post() + data(1, b"", 0) * MANY,
        counter="inbound_empty_frames_flood",
    ),
    Flood(
        "f.empty.padded",
        "DATA that is nothing but padding",
        post() + frame(0, PADDED, 1, b"\xff" + bytes(255)) * 3000,
        counter="inbound_empty_frames_flood",
    ),
    Flood(
        "f.empty.continuation",
        "empty CONTINUATION",
        headers(1, block(request()), 1) + frame(CONTINUATION, 0, 1) * MANY,
        counter="inbound_empty_frames_flood",
    ),
    Flood(
        "f.continuation",
        "CONTINUATION without an end",
        headers(1, block(request()), 1) + frame(CONTINUATION, 0, 1, block([("x", "v" * 1000)])) * 4000,
    ),
    Flood(
        "f.continuation.tiny",
        "CONTINUATION of one byte without an end",
        headers(1, block(request()), 1) + frame(CONTINUATION, 0, 1, b"\x82") * MANY,
    ),
    Flood(
        "f.priority",
        "PRIORITY",
        post() + b"".join(priority(sid) for sid in sids(MANY)),
        counter="inbound_priority_frames_flood",
    ),
    Flood(
        "f.window",
        "WINDOW_UPDATE",
        post() + window_update(1, 1) * MANY,
        counter="inbound_window_update_frames_flood",
    ),
    Flood("f.rst.unknown", "RST_STREAM for a stream that is closed", post() + rst(1) * 20_000),
    Flood("f.headers.closed", "HEADERS for a stream that is closed", post() + rst(1) + get(1) * 20_000, "bounded"),
    Flood("f.data.closed", "DATA for a stream that is closed", post() + rst(1) + data(1, b"x", 0) * MANY, "bounded"),
    Flood("f.streams", "streams that are never ended", b"".join(post(sid) for sid in sids(5000)), "bounded"),
    Flood(
        "f.hpack.bomb",
        "a long field of the table named over and over",
        headers(1, HEAD + BIG_FIELD) + b"".join(headers(sid, HEAD + b"\xbe" * 15_000) for sid in range(3, 203, 2)),
        "bounded",
        counter="header_overflow",
    ),
    Flood(
        "f.hpack.long",
        "blocks of many frames that name fields over and over",
        b"".join(
            headers(sid, HEAD + BIG_FIELD, 1)
            + frame(CONTINUATION, 0, sid, b"\xbe" * 16_000) * 6
            + frame(CONTINUATION, 4, sid, b"\xbe" * 16_000)
            for sid in sids(30)
        ),
        "bounded",
        counter="header_overflow",
    ),
    Flood(
        "f.hpack.names",
        "blocks of many short names that nobody has seen",
        b"".join(
            headers(sid, HEAD, 1)
            + b"".join(
                frame(
                    CONTINUATION,
                    4 * (part == 5),
                    sid,
                    b"".join(b"\x00\x04%04x\x00" % (sid * part + i) for i in range(2000)),
                )
                for part in range(6)
            )
            for sid in sids(30)
        ),
        "bounded",
        counter="header_overflow",
    ),
    Flood(
        "f.hpack.churn",
        "a table that is filled and emptied",
        b"".join(headers(sid, b"\x20\x3f\xe1\x1f" + HEAD + b"\x40\x01a\x01b" * 90) for sid in sids(1000)),
        "bounded",
    ),
    Flood(
        "f.cookies",
        "crumbs of a cookie",
        b"".join(headers(sid, HEAD + b"\x60\x01a" + b"\xbe" * 10_000) for sid in sids(200)),
        "bounded",
        counter="header_overflow",
    ),
    Flood("f.unknown", "frames of an unknown type", frame(0x42, 0, 0) * 100_000, "bounded"),
    Flood("f.ping.ack", "answers to no PING", ping(flags=ACK) * 100_000, "bounded"),
    Flood("f.settings.ack", "acknowledgements of nothing", frame(SETTINGS, ACK, 0) * 100_000, "bounded"),
    Flood("f.goaway", "GOAWAY", frame(GOAWAY, 0, 0, bytes(8)) * 100_000, "bounded"),
    Flood(
        "f.window.zero",
        "large answers without a window to send them in",
        settings((4, 0)) + b"".join(headers(sid, request(path="/direct/large")) for sid in sids(1000)),
        "bounded",
    ),
    Flood(
        "f.dribble",
        "a head of many streams, one byte of each",
        b"".join(post(sid) + data(sid, b"x", 0) for sid in sids(1000)),
        "bounded",
    ),
    Flood("f.upper", "malformed heads", b"".join(get(sid, [("X", "1")]) for sid in sids(5000))),
    Flood(
        "f.refused",
        "streams beyond the limit",
        b"".join(frame(HEADERS, 4, sid, HEAD) for sid in sids(10_000)),
    ),
]
