"""Listener filters: what each finds out, however the first bytes are cut. The parsers have tests of their own."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.testing import ListenerHarness, accepted
from meshproxy_filters.listener.http_inspector import HttpInspector
from meshproxy_filters.listener.original_dst import OriginalDst
from meshproxy_filters.listener.original_src import OriginalSrc
from meshproxy_filters.listener.proxy_protocol import ProxyProtocol
from meshproxy_filters.listener.tls_inspector import TlsInspector


def cuts(data: bytes) -> list[list[bytes]]:
    """The data whole, and byte by byte."""
    return [[data], [data[i : i + 1] for i in range(len(data))]]


# original_dst


@pytest.mark.parametrize(
    ("kernel", "direct", "restored"),
    [
        (("10.0.0.1", 80), ("127.0.0.1", 15001), True),
        (("10.0.0.1", 15001), ("127.0.0.1", 15001), True),  # another's port of the same number
        (("192.0.2.10", 15001), ("192.0.2.10", 15001), False),  # our own port: nothing was redirected
        (("10.0.0.1", 80), ("10.0.0.1", 80), True),  # TPROXY: the socket's own name is the destination
        (("fd00::1", 80), ("::1", 15001), True),
        (None, ("192.0.2.10", 15001), False),
    ],
)
def test_the_original_destination(kernel: Any, direct: tuple[str, int], restored: bool) -> None:
    socket = accepted(local=direct, direct_local=direct, kernel_destination=kernel, listening_port=15001)
    verdict = ListenerHarness(OriginalDst, {}).accept(socket=socket)
    assert verdict.decided
    assert socket.local_restored is restored
    assert socket.local == (kernel if restored else direct)


# original_src


def test_upstreams_are_reached_from_the_address_that_was_found() -> None:
    socket = accepted(remote=("192.0.2.1", 1000), direct_remote=("10.0.0.1", 2000))
    assert ListenerHarness(OriginalSrc, {"mark": 1337}).accept(socket=socket).decided
    assert socket.upstream_source == ("192.0.2.1", 1337)
    on_a_path = accepted(remote=("", 0), direct_remote=("", 0))
    ListenerHarness(OriginalSrc, {}).accept(socket=on_a_path)
    assert on_a_path.upstream_source is None
    with pytest.raises(ConfigError, match="bind_port"):
        ListenerHarness(OriginalSrc, {"bind_port": True})


# proxy_protocol

V1 = b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(tlvs: bytes = b"", command: int = 0x21) -> bytes:
    block = bytes([1, 2, 3, 4, 5, 6, 7, 8, 0x03, 0xE8, 0x07, 0xD0]) + tlvs
    return SIGNATURE + bytes([command, 0x11]) + len(block).to_bytes(2, "big") + block


@pytest.mark.parametrize("header", [V1, v2()])
@pytest.mark.parametrize("way", [0, 1])
def test_a_proxy_header_gives_the_addresses_and_is_consumed(header: bytes, way: int) -> None:
    harness = ListenerHarness(ProxyProtocol, {})
    pieces = cuts(header)[way]
    verdict = harness.accept([*pieces[:-1], pieces[-1] + b"GET /"])
    assert verdict.consumed == len(header)
    assert verdict.socket.remote == ("1.2.3.4", 1000)
    assert verdict.socket.local == ("5.6.7.8", 2000)
    assert verdict.socket.local_restored
    assert verdict.socket.direct_remote == ("192.0.2.20", 40000)
    assert sum(harness.stats.values()) == 1


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", v2(command=0x20)])
def test_a_connection_of_the_senders_own_keeps_its_addresses(header: bytes) -> None:
    verdict = ListenerHarness(ProxyProtocol, {}).accept([header])
    assert verdict.consumed == len(header)
    assert verdict.socket.remote == ("192.0.2.20", 40000)
    assert not verdict.socket.local_restored


def test_a_destination_that_is_the_sockets_own_is_not_restored() -> None:
    verdict = ListenerHarness(ProxyProtocol, {}).accept([b"PROXY TCP4 1.2.3.4 192.0.2.10 1000 15006\r\n"])
    assert not verdict.socket.local_restored


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"PROXX", b"\x16\x03\x01"])
def test_without_a_header_the_connection_is_refused_unless_that_is_allowed(data: bytes) -> None:
    harness = ListenerHarness(ProxyProtocol, {})
    assert harness.accept([data]).refused is not None
    assert harness.stats == {"proxy_proto.not_found_disallowed": 1}
    lax = ListenerHarness(ProxyProtocol, {"allow_requests_without_proxy_protocol": True})
    verdict = lax.accept([data])
    assert verdict.decided
    assert verdict.consumed == 0
    assert verdict.refused is None


@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("data", [b"PROXY TCP4 x\r\n", SIGNATURE + b"\x31\x11\x00\x00"])
def test_what_begins_as_a_header_has_to_be_one(data: bytes, optional: bool) -> None:
    harness = ListenerHarness(ProxyProtocol, {"allow_requests_without_proxy_protocol": optional})
    assert harness.accept([data]).refused is not None


@pytest.mark.parametrize("optional", [False, True])
def test_a_header_cut_short_by_the_end(optional: bool) -> None:
    verdict = ListenerHarness(ProxyProtocol, {"allow_requests_without_proxy_protocol": optional}).accept(
        [V1[:9]], ends=True
    )
    assert (verdict.refused is None) is optional


def test_versions_can_be_disallowed() -> None:
    harness = ListenerHarness(ProxyProtocol, {"disallowed_versions": ["V1"], "stat_prefix": "p"})
    assert harness.accept([V1]).refused is not None
    assert harness.accept([v2()]).consumed == len(v2())
    assert harness.stats == {"proxy_proto.p.versions.v1.disallowed": 1, "proxy_proto.p.versions.v2.found": 1}


def test_tlvs_become_metadata() -> None:
    rules = [
        {"tlv_type": 2, "on_tlv_present": {"key": "authority"}},
        {"tlv_type": 0xEA, "on_tlv_present": {"metadata_namespace": "ns", "key": "vpc"}},
    ]
    tlvs = b"\x02\x00\x03a.b" + b"\xea\x00\x03x\xffy" + b"\x04\x00\x00"
    verdict = ListenerHarness(ProxyProtocol, {"rules": rules}).accept([v2(tlvs)])
    assert verdict.socket.metadata == {
        "envoy.filters.listener.proxy_protocol": {"authority": "a.b"},
        "ns": {"vpc": "x!y"},
    }


# tls_inspector


def client_hello(name: str = "A.example", alpn: tuple[str, ...] = ("h2", "http/1.1")) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name or None).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("way", [0, 1])
def test_tls_is_recognised(way: int) -> None:
    harness = ListenerHarness(TlsInspector, {"initial_read_buffer_size": 512})
    verdict = harness.accept(cuts(client_hello())[way])
    assert verdict.socket.transport_protocol == "tls"
    assert verdict.socket.server_name == "a.example"
    assert verdict.socket.application_protocols == ("h2", "http/1.1")
    assert verdict.consumed == 0
    assert harness.stats == {"tls_inspector.tls_found": 1, "tls_inspector.sni_found": 1, "tls_inspector.alpn_found": 1}


def test_tls_without_name_and_protocols() -> None:
    harness = ListenerHarness(TlsInspector, {})
    assert harness.accept([client_hello("", ())]).socket.transport_protocol == "tls"
    assert harness.stats["tls_inspector.sni_not_found"] == harness.stats["tls_inspector.alpn_not_found"] == 1


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x00\x05hello"])
def test_what_is_no_tls_goes_on(data: bytes) -> None:
    harness = ListenerHarness(TlsInspector, {})
    verdict = harness.accept([data])
    assert verdict.decided
    assert verdict.socket.transport_protocol == ""
    assert harness.stats == {"tls_inspector.tls_not_found": 1}


def test_a_client_hello_cut_short_by_the_end_is_no_tls() -> None:
    assert ListenerHarness(TlsInspector, {}).accept([client_hello()[:20]], ends=True).socket.transport_protocol == ""


def test_a_client_hello_that_is_too_large_is_refused() -> None:
    record = b"\x16\x03\x01\x40\x00" + b"\x01\x00\x3f\xff" + b"x" * 0x3FFC
    harness = ListenerHarness(TlsInspector, {})
    assert harness.accept([record, record]).refused == "client hello too large"


def test_what_is_no_client_hello_is_refused_on_demand() -> None:
    too_long = b"\x16\x03\x01\x3f\x00" + b"\x01\x00\xff\xff" + b"x" * 0x3EFC
    assert not ListenerHarness(TlsInspector, {}).accept([too_long]).refused
    strict = {"close_connection_on_client_hello_parsing_errors": True}
    assert ListenerHarness(TlsInspector, strict).accept([too_long]).refused == "client hello too large"
    assert ListenerHarness(TlsInspector, strict).accept([b"GET / HTTP/1.1\r\n"]).refused == "no client hello"


def test_fingerprints_are_taken_when_asked_for() -> None:
    asked = ListenerHarness(TlsInspector, {"enable_ja3_fingerprinting": True}).accept([client_hello()]).socket
    assert len(asked.ja3) == 32
    assert asked.ja4 == ""


# http_inspector


@pytest.mark.parametrize(
    ("data", "protocol"),
    [
        (b"GET / HTTP/1.1\r\n", "http/1.1"),
        (b"GET / HTTP/1.0\r\n", "http/1.0"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "h2c"),
        (b"\x00\x01binary", ""),
    ],
)
@pytest.mark.parametrize("way", [0, 1])
def test_http_is_recognised(data: bytes, protocol: str, way: int) -> None:
    verdict = ListenerHarness(HttpInspector, {}).accept(cuts(data)[way])
    assert verdict.decided
    assert verdict.socket.application_protocols == ((protocol,) if protocol else ())


def test_http_inspector_leaves_tls_alone() -> None:
    socket = accepted(transport_protocol="tls", application_protocols=("h2",))
    verdict = ListenerHarness(HttpInspector, {}).accept([b"G"], socket=socket)
    assert verdict.decided
    assert socket.application_protocols == ("h2",)
