"""PROXY protocol headers towards hosts: the bytes, whom they name, and which connections may be shared."""

from __future__ import annotations

import pytest

from meshproxy.codec.proxy_header import LOCAL_V2, encode_v1, encode_v2
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.plugin.stream_info import ConnectionInfo, StreamInfo
from meshproxy.runtime.upstream.connections.proxy_header import proxy_header
from meshproxy_filters.listener.proxy_header import ProxyHeader, read_proxy_header

V4 = ("192.0.2.1", 1), ("192.0.2.2", 65535)
V6 = ("2001:db8::1", 1), ("::1", 2)
MIXED = ("192.0.2.1", 1), ("::1", 2)


@pytest.mark.parametrize("ends", [V4, V6])
@pytest.mark.parametrize("version", [1, 2])
def test_what_is_written_can_be_read(ends: tuple[tuple[str, int], tuple[str, int]], version: int) -> None:
    tlvs = ((0xE0, b""), (0xE1, b"x" * 300)) if version == 2 else ()
    data = encode_v1(*ends) if version == 1 else encode_v2(*ends, tlvs)
    assert data is not None
    assert read_proxy_header(data) == ProxyHeader(len(data), *ends, tlvs, version)


def test_two_families_become_one_in_version_2() -> None:
    data = encode_v2(*MIXED)
    assert data is not None
    header = read_proxy_header(data)
    assert isinstance(header, ProxyHeader)
    assert (header.source, header.destination) == MIXED


def test_entries_that_are_too_long_are_no_header() -> None:
    assert encode_v2(*V4, [(1, b"x" * 65536)]) is None
    assert encode_v2(*V4, [(1, b"x" * 40000), (2, b"x" * 40000)]) is None


def test_a_connection_of_our_own_says_so() -> None:
    assert read_proxy_header(LOCAL_V2) == ProxyHeader(16)


def info(remote: str = "192.0.2.1:1", local: str = "192.0.2.2:2", **facts: object) -> StreamInfo:
    stream = StreamInfo()
    stream.connection = ConnectionInfo()
    stream.connection.remote_address, stream.connection.local_address = remote, local
    for name, value in facts.items():
        setattr(stream.connection if name == "proxy_tlvs" else stream, name, value)
    return stream


def test_nobody_is_named_where_nobody_is_known() -> None:
    options = ProxyHeaderOptions()
    assert proxy_header(options, None) is None
    assert proxy_header(options, info(hides_addresses=True)) is None
    assert proxy_header(options, info(remote="0.0.0.0:1")) is None
    assert proxy_header(ProxyHeaderOptions(unspecified=True), info(remote="0.0.0.0:1")) is not None
    assert proxy_header(options, info(hides_addresses=True, proxy_tlvs=())) is not None


def test_clients_share_connections_with_themselves_alone() -> None:
    options = ProxyHeaderOptions(version=2, passed=None)
    first, same, other = (proxy_header(options, each) for each in (info(), info(), info(remote="192.0.2.1:3")))
    assert first == same
    assert first != other
    assert first == proxy_header(options, info(proxy_tlvs=((224, b"a"),)))
    parted = ProxyHeaderOptions(version=2, passed=None, entries_part_pools=True)
    assert proxy_header(parted, info()) != proxy_header(parted, info(proxy_tlvs=((224, b"a"),)))


def test_entries_of_ours_come_first_and_instead_of_the_clients() -> None:
    options = ProxyHeaderOptions(version=2, passed=frozenset((224, 225)), added=((224, lambda stream: b"ours"),))
    header = proxy_header(options, info(proxy_tlvs=((224, b"a"), (225, b"b"), (226, b"c"))))
    assert header is not None
    read = read_proxy_header(header.data)
    assert isinstance(read, ProxyHeader)
    assert read.tlvs == ((224, b"ours"), (225, b"b"))
