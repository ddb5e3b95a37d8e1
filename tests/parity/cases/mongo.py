"""mongo_proxy: MongoDB's messages counted on their way, beside what can't be read."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from ..case import Act, Case, Client, Op, Upstream, Wait, raw

NETWORK = "[{mongo_proxy: {stat_prefix: $case%s}}, {tcp_proxy: {cluster: $up%s}}]"
LOGGED = (
    ", access_log: [{name: file, typed_config: {'@type': "
    "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: $dir/$case.log, log_format: "
    "{text_format_source: {inline_string: '%DYNAMIC_METADATA(envoy.filters.network.mongo_proxy)%\\n'}}}}]"
)


def bson(fields: Mapping[str, Any]) -> bytes:
    """A document; a value that is bytes stands as it is, its type first."""
    body = b"".join(_element(name, value) for name, value in fields.items())
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def _element(name: str, value: Any) -> bytes:
    key = name.encode() + b"\0"
    if isinstance(value, bytes):
        return value[:1] + key + value[1:]
    if isinstance(value, str):
        return b"\x02" + key + struct.pack("<i", len(value) + 1) + value.encode() + b"\0"
    if isinstance(value, bool):
        return b"\x08" + key + bytes([value])
    if isinstance(value, int):
        return b"\x10" + key + struct.pack("<i", value)
    if isinstance(value, list):
        return b"\x04" + key + bson({str(index): item for index, item in enumerate(value)})
    return b"\x03" + key + bson(value)


def message(kind: int, body: bytes, number: int = 7, answers: int = 0) -> bytes:
    return struct.pack("<iiii", 16 + len(body), number, answers, kind) + body


def query(collection: str, document: Mapping[str, Any], flags: int = 0, number: int = 7) -> bytes:
    return message(2004, struct.pack("<i", flags) + collection.encode() + b"\0" + bytes(8) + bson(document), number)


def reply(*documents: Mapping[str, Any], flags: int = 0, cursor: int = 0, answers: int = 7) -> bytes:
    head = struct.pack("<iqii", flags, cursor, 0, len(documents))
    return message(1, head + b"".join(map(bson, documents)), 9, answers)


OTHERS = {
    "double": b"\x01" + bytes(8),
    "binary": b"\x05" + struct.pack("<i", 3) + b"\0abc",
    "id": b"\x07" + bytes(12),
    "date": b"\x09" + bytes(8),
    "null": b"\x0a",
    "regex": b"\x0bab\0i\0",
    "symbol": b"\x0e" + struct.pack("<i", 2) + b"a\0",
    "time": b"\x11" + bytes(8),
    "long": b"\x12" + bytes(8),
    "bool": True,
    "list": [1, "a", {"b": 2}],
}


def talk(name: str, *sent: bytes, back: bytes = b"", options: str = "", log: str = "", **more: Any) -> Case:
    ops: tuple[Op, ...] = (*sent, Wait("END"), Act.HALF_CLOSE, Act.WAIT_EOF)
    size = sum(map(len, sent))
    upstreams = {"up": Upstream(((*_until(size), back + b"END", Act.WAIT_EOF, Act.CLOSE),), mode="raw")}
    more.setdefault("stats", rf"^mongo\.mongo-{name}\.(?!.*reply_time)")
    return Case(
        f"mongo-{name}",
        clients=(Client(ops, raw=True, timing=False),),
        network=NETWORK % (options, log or LOGGED),
        upstreams=more.pop("upstreams", upstreams),
        timing=False,
        **more,
    )


def _until(size: int) -> tuple[Op, ...]:
    return (0.2,) if size else ()


FIND = {"find": "books", "filter": {"a": 1}, "comment": '{"callingFunction": "load"}'}

CASES = [
    talk(
        "queries",
        query("db.books", {"_id": 1, "$maxTimeMS": 5}, 2 | 16 | 32 | 64),
        query("db.books", {"$query": {"_id": {"$in": [1]}}, "$comment": '{"callingFunction": "f"}'}, number=8),
        query("db.books", {"name": "x", **OTHERS}, number=9),
        back=reply({"a": 1}, {"b": OTHERS["double"]}, cursor=3) + reply(flags=3, answers=8),
        options=", emit_dynamic_metadata: true",
        shows=("multi_get", "callsite"),
    ),
    talk(
        "commands",
        query("db.$cmd", {"isMaster": 1}),
        query("db.$cmd", {"insert": "books", "documents": [{"a": 1}]}, number=8),
        query("db.$cmd", {"$query": FIND}, number=9),
        query("db.$cmd", {"find": "books", "filter": {"_id": [1]}}, number=10),
        back=reply({"ok": 1}) + reply({"ok": 1}, answers=8) + reply({"ok": 1}, answers=9) + reply(answers=77),
    ),
    talk(
        "more-commands",
        query("db.$cmd", {"isMaster": 1}),
        query("db.$cmd", {"insert": "books"}, number=8),
        options=", commands: [isMaster]",
    ),
    talk(
        "operations",
        message(2002, bytes(4) + b"db.books\0" + bson({"a": 1}) + bson({})),
        message(2005, bytes(4) + b"db.books\0" + bytes(12)),
        message(2007, bytes(4) + struct.pack("<i", 2) + bytes(16)),
        message(2010, b"db\0cmd\0" + bson({"a": 1}) + bson({})),
        message(2011, bson({"a": 1}) + bson({}) + bson({"b": 2})),
        options=", emit_dynamic_metadata: true",
    ),
    talk("piece-by-piece", *(bytes([byte]) for byte in query("db.books", {"_id": 1})), back=reply({})),
    talk("op-msg", query("admin.$cmd", {"isMaster": 1}), message(2013, bytes(5) + bson({"ping": 1})), back=reply({})),
    *(
        talk(f"bad-{name}", sent, query("db.books", {"_id": 1}), back=reply({}))
        for name, sent in (
            ("operation", message(5, b"")),
            ("command-reply", message(2011, bson({"a": 1}))),
            ("document", query("db.books", {"a": b"\x10\0\0"})),
            ("type", query("db.books", {"a": b"\x06"})),
            ("collection", query("books", {"_id": 1})),
            ("command", query("db.$cmd", {})),
            ("find", query("db.$cmd", {"find": 1})),
            ("end", message(2004, bytes(4) + b"db.books")),
        )
    ),
    Case(
        "mongo-left",
        clients=(Client((query("db.books", {"_id": 1}), 0.2, Act.CLOSE), raw=True, timing=False),),
        network=NETWORK % ("", LOGGED),
        upstreams=raw(Act.WAIT_EOF, Act.CLOSE),
        stats=r"^mongo\.mongo-left\.",
        timing=False,
    ),
    Case(
        "mongo-ended",
        clients=(Client((query("db.books", {"_id": 1}), Act.WAIT_EOF), raw=True, timing=False),),
        network=NETWORK % ("", LOGGED),
        upstreams=raw(0.2, Act.CLOSE),
        stats=r"^mongo\.mongo-ended\.",
        timing=False,
    ),
    talk(
        "delayed",
        query("db.books", {"_id": 1}),
        back=reply({}),
        options=", delay: {fixed_delay: 0.2s, percentage: {numerator: 100}}",
        upstreams={"up": Upstream(((0.5, b"END", Act.WAIT_EOF, Act.CLOSE),), mode="raw")},
    ),
]
