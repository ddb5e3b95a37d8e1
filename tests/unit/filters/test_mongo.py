"""What mongo_proxy makes of bytes that no comparison with Envoy shows."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshproxy.errors import ConfigError
from meshproxy.testing import NetworkHarness
from meshproxy_filters.network.echo import Echo
from meshproxy_filters.network.mongo_proxy.bson import WireError
from meshproxy_filters.network.mongo_proxy.mongo_proxy import MongoProxy
from meshproxy_filters.network.mongo_proxy.wire import QUERY, Decoder, Message, facts_of
from tests.parity.cases.mongo import bson, message, query


def nested(depth: int) -> bytes:
    document = bson({})
    for _ in range(depth):
        document = struct.pack("<i", len(document) + 8) + b"\x03a\0" + document + b"\0"
    return document


def read(*pieces: bytes) -> list[Message]:
    decoder = Decoder()
    return [found for piece in pieces for found in decoder.feed(piece)]


def test_documents_may_nest_but_not_without_end() -> None:
    head = bytes(4) + b"db.a\0" + bytes(8)
    assert read(message(QUERY, head + nested(99)))[0].collection == "db.a"
    with pytest.raises(WireError, match="deeply"):
        read(message(QUERY, head + nested(5000)))


def test_a_message_cant_ask_for_all_memory() -> None:
    with pytest.raises(WireError, match="bytes"):
        read(struct.pack("<Iiii", 0xFFFFFFFF, 1, 0, QUERY))


@given(st.binary(max_size=200), st.sampled_from([1, 2002, 2004, 2005, 2007, 2010, 2011]))
def test_nothing_but_its_own_error_comes_of_any_bytes(body: bytes, kind: int) -> None:
    try:
        for found in read(message(kind, body)):
            if found.kind == QUERY:
                facts_of(found)
    except WireError:
        pass


def test_names_that_clients_choose_are_bounded() -> None:
    harness = NetworkHarness(Echo, {}, before=[(MongoProxy, {"stat_prefix": "m"})])
    client = harness.connect()
    for number in range(1100):
        client.send(query(f"db.c{number}", {"_id": 1}))
    assert len([name for name in harness.stats if ".collection." in name]) == 1001
    assert harness.stats["mongo.m.collection.other.query.total"] == 200  # the echo of each counts as well


def test_what_isnt_supported_is_refused() -> None:
    refused: tuple[dict[str, Any], ...] = ({"access_log": "/dev/null"}, {"delay": {"header_delay": {}}})
    for config in refused:
        with pytest.raises(ConfigError):
            NetworkHarness(Echo, {}, before=[(MongoProxy, {"stat_prefix": "m", **config})])
