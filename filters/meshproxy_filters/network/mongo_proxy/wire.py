"""MongoDB's messages, out of the bytes of one direction (MongoDB wire protocol).

Known are those that Envoy's filter knows: OP_QUERY, OP_REPLY and their contemporaries. Newer drivers say hello with an
OP_QUERY and then speak OP_MSG, which is an error to Envoy's filter, and so it is here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from meshproxy.records import dataclass
from meshproxy_filters.network.mongo_proxy.bson import Document, Reader, WireError

REPLY, INSERT, QUERY, GET_MORE, KILL_CURSORS, COMMAND, COMMAND_REPLY = 1, 2002, 2004, 2005, 2007, 2010, 2011
_HEAD = 16
_LONGEST = 64 << 20

TAILABLE_CURSOR, NO_CURSOR_TIMEOUT, AWAIT_DATA, EXHAUST = 1 << 1, 1 << 4, 1 << 5, 1 << 6
CURSOR_NOT_FOUND, QUERY_FAILURE = 1 << 0, 1 << 1


@dataclass(frozen=True, slots=True)
class Message:
    """collection: with its database. documents: of a reply those found; of a query the query itself."""

    kind: int
    request_id: int
    response_to: int
    flags: int = 0
    collection: str = ""
    cursor: int = 0
    documents: tuple[Document, ...] = ()


class Decoder:
    """Gathers bytes until messages are whole."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole now. Raises WireError."""
        self._held += data
        while len(self._held) >= _HEAD:
            size = int.from_bytes(self._held[:4], "little")
            if not _HEAD <= size <= _LONGEST:
                raise WireError(f"a message of {size} bytes")
            if len(self._held) < size:
                return
            message = bytes(self._held[4:size])
            del self._held[:size]
            yield _read(Reader(message))


def _read(reader: Reader) -> Message:
    request_id, response_to, kind = reader.int32(), reader.int32(), reader.int32()
    flags = cursor = 0
    collection = ""
    documents: tuple[Document, ...] = ()
    if kind == QUERY:
        flags, collection = reader.int32(), reader.name()
        reader.take(8)  # how many are passed over and returned
        documents = (reader.document(),)
        if reader.left:
            reader.document()  # which fields are wanted
    elif kind == REPLY:
        flags, cursor = reader.int32(), reader.int64()
        reader.int32()
        documents = tuple(reader.document() for _ in range(reader.int32()))
    elif kind == INSERT:
        flags, collection = reader.int32(), reader.name()
        documents = _rest(reader)
    elif kind == GET_MORE:
        reader.int32()
        collection = reader.name()
        reader.take(12)
    elif kind == KILL_CURSORS:
        reader.int32()
        reader.take(8 * max(reader.int32(), 0))
    elif kind == COMMAND:
        reader.name()
        reader.name()
        documents = (reader.document(), reader.document(), *_rest(reader))
    elif kind == COMMAND_REPLY:
        documents = (reader.document(), reader.document(), *_rest(reader))
    else:
        raise WireError(f"the operation {kind} is unknown")
    return Message(kind, request_id, response_to, flags, collection, cursor, documents)


def _rest(reader: Reader) -> tuple[Document, ...]:
    documents = []
    while reader.left:
        documents.append(reader.document())
    return tuple(documents)


@dataclass(frozen=True, slots=True)
class QueryFacts:
    """What a query asks for. command: its name, or else of the collection it asks; gets: "one", "several" or "all" of
    its shards. callsite: the function of the caller's that a comment names. max_time: milliseconds."""

    command: str = ""
    collection: str = ""
    callsite: str = ""
    gets: str = "one"
    max_time: int = 0


def facts_of(message: Message) -> QueryFacts:
    """Raises WireError."""
    query = message.documents[0]
    inner = query.get("$query")
    inner = inner if isinstance(inner, Document) and not inner.array else None
    if "$cmd" in message.collection:
        return _facts_of_command(inner if inner is not None else query)
    _, dot, collection = message.collection.partition(".")
    if not dot:
        raise WireError("a collection has no database")
    gets = _gets(query)
    if gets == "all" and inner is not None:
        gets = _gets(inner)
    limit = query.get("$maxTimeMS")
    return QueryFacts("", collection, _callsite(query.get("$comment")), gets, limit if isinstance(limit, int) else 0)


def _facts_of_command(command: Document) -> QueryFacts:
    if not command:
        raise WireError("a command is empty")
    name = next(iter(command))
    if name != "find":
        return QueryFacts(name)
    collection, wanted = command[name], command.get("filter")
    if not isinstance(collection, str):
        raise WireError("a collection has no name")
    gets = _gets(wanted) if isinstance(wanted, Document) and not wanted.array else "one"
    return QueryFacts("", collection, _callsite(command.get("comment")), gets)


def _gets(document: Document) -> str:
    if "_id" not in document:
        return "all"
    return "several" if isinstance(document["_id"], Document) else "one"


def _callsite(comment: object) -> str:
    if not isinstance(comment, str):
        return ""
    try:
        found = json.loads(comment).get("callingFunction")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""
