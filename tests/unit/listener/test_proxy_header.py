"""The rows are what Envoy 1.40.0 made of them: the addresses it then had, "socket" for those of the connection,
"reset", or "absent" where a listener that allows connections without a header went on."""

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshproxy_filters.listener.proxy_header import MAX_PROXY_HEADER, ProxyHeader, ProxyVerdict, read_proxy_header

V1_ROWS = [
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 1111 2222\r\n", "10.0.0.1:1111|10.0.0.2:2222"),
    (b"PROXY TCP6 fd00::1 fd00::2 1111 2222\r\n", "[fd00::1]:1111|[fd00::2]:2222"),
    (b"PROXY UNKNOWN\r\n", "socket"),
    (b"PROXY UNKNOWN a b c\r\n", "socket"),
    (b"PROXY UNKNOWN fd00::1 fd00::2 1 2\r\n", "socket"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 1111 2222\n", "reset"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 1111\r\n", "reset"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 1111 2222 3\r\n", "reset"),
    (b"PROXY TCP4  10.0.0.1 10.0.0.2 1111 2222\r\n", "reset"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 65536 2222\r\n", "reset"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 -1 2222\r\n", "reset"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 0 0\r\n", "10.0.0.1:0|10.0.0.2:0"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 01111 2222\r\n", "10.0.0.1:1111|10.0.0.2:2222"),
    (b"PROXY TCP4 010.0.0.1 10.0.0.2 1111 2222\r\n", "reset"),
    (b"PROXY TCP4 fd00::1 fd00::2 1111 2222\r\n", "reset"),
    (b"PROXY TCP6 10.0.0.1 10.0.0.2 1111 2222\r\n", "reset"),
    (b"PROXY UDP4 10.0.0.1 10.0.0.2 1 2\r\n", "reset"),
    (b"PROXY tcp4 10.0.0.1 10.0.0.2 1 2\r\n", "reset"),
    (b"proxy TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "absent"),
    (b"PROXY \r\n", "reset"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 1111 2222\x00\r\n", "reset"),
    (b"PROXY TCP4\t10.0.0.1 10.0.0.2 1111 2222\r\n", "reset"),
    (b"PROXY UNKNOWNX\r\n", "reset"),
    (b"PROXY TCP4 a b 1 2\r\n", "reset"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 1a 2\r\n", "reset"),
    (b"PROXYTCP4 ", "absent"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\rX\n", "reset"),
    (b"PROXY TCP4 224.0.0.1 10.0.0.2 1 2\r\n", "reset"),
    (b"PROXY TCP4 0.0.0.0 10.0.0.2 1 2\r\n", "reset"),
    (b"PROXY TCP4 255.255.255.255 10.0.0.2 1 2\r\n", "reset"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2  1\r\n", "reset"),
]

# Envoy takes these, the specification doesn't.
STRICTER = [
    b"PROXY TCP4 10.0.0.1 10.0.0.2 +1 2222\r\n",
    b"PROXY TCP4 10.0.0.1 10.0.0.2 1111\n 2222\r\n",
    b"PROXY TCP4 10.0.0.1 10.0.0.2 1111 2222\t\r\n",
    b"PROXY TCP4 10.0.0.1 10.0.0.2 1111 2222\r\r\n",
    b"PROXY TCP4 10.0.0.1 10.0.0.2 1111 2222 \r\n",
    b"PROXY TCP6 fe80::1%lo fd00::2 1 2\r\n",
]

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
IPV4 = bytes([10, 0, 0, 1, 10, 0, 0, 2]) + struct.pack("!HH", 1111, 2222)
IPV6 = ip_address("fd00::1").packed + ip_address("fd00::2").packed + struct.pack("!HH", 1111, 2222)
MAPPED = ip_address("::ffff:10.0.0.1").packed + ip_address("::ffff:10.0.0.2").packed + struct.pack("!HH", 1111, 2222)


def _v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(body)) + body


def _tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + struct.pack("!H", len(value)) + value


TEN = "10.0.0.1:1111|10.0.0.2:2222"
V2_ROWS = [
    ("tcp4", _v2(0x21, 0x11, IPV4), TEN),
    ("udp4", _v2(0x21, 0x12, IPV4), TEN),
    ("tcp6", _v2(0x21, 0x21, IPV6), "[fd00::1]:1111|[fd00::2]:2222"),
    ("local", _v2(0x20, 0, b""), "socket"),
    ("local with addresses", _v2(0x20, 0x11, IPV4), "socket"),
    ("local with anything", _v2(0x20, 0, b"junkjunk"), "socket"),
    ("unspecified", _v2(0x21, 0, b""), "reset"),
    ("unspecified with addresses", _v2(0x21, 0, IPV4), "reset"),
    ("unspecified transport", _v2(0x21, 0x10, IPV4), "reset"),
    ("unix", _v2(0x21, 0x31, bytes(216)), "reset"),
    ("version 1", _v2(0x11, 0x11, IPV4), "reset"),
    ("version 3", _v2(0x31, 0x11, IPV4), "reset"),
    ("command 2", _v2(0x22, 0x11, IPV4), "reset"),
    ("short IPv4", _v2(0x21, 0x11, IPV4[:11]), "reset"),
    ("short IPv6", _v2(0x21, 0x21, IPV6[:35]), "reset"),
    ("family 4", _v2(0x21, 0x41, IPV4), "reset"),
    ("transport 3", _v2(0x21, 0x13, IPV4), "reset"),
    ("TLV", _v2(0x21, 0x11, IPV4 + _tlv(2, b"host")), TEN),
    ("TLV that is no UTF-8", _v2(0x21, 0x11, IPV4 + _tlv(2, b"\xff\xfe")), TEN),
    ("empty TLV", _v2(0x21, 0x11, IPV4 + _tlv(4, b"")), TEN),
    ("TLV without length", _v2(0x21, 0x11, IPV4 + b"\x02\0"), "reset"),
    ("TLV beyond the end", _v2(0x21, 0x11, IPV4 + b"\x02\0\x09ab"), "reset"),
    ("longest", _v2(0x21, 0x11, IPV4 + _tlv(4, b"x" * (65535 - 15))), TEN),
    ("wrong signature", SIGNATURE[:11] + b"X" + _v2(0x21, 0x11, IPV4)[12:], "absent"),
]


def _show(result: ProxyHeader | ProxyVerdict) -> str:
    if not isinstance(result, ProxyHeader):
        return {ProxyVerdict.ABSENT: "absent", ProxyVerdict.INVALID: "reset"}.get(result, "more")
    if result.source is None or result.destination is None:
        return "socket"
    return "|".join(
        f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip, port in (result.source, result.destination)
    )


@pytest.mark.parametrize(("header", "expected"), V1_ROWS)
def test_version_1(header: bytes, expected: str) -> None:
    result = read_proxy_header(header + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert _show(result) == expected
    if isinstance(result, ProxyHeader):
        assert (result.length, result.version) == (len(header), 1)


@pytest.mark.parametrize("header", STRICTER)
def test_version_1_is_stricter_than_envoy(header: bytes) -> None:
    assert read_proxy_header(header) is ProxyVerdict.INVALID


@pytest.mark.parametrize(("header", "expected"), [row[1:] for row in V2_ROWS], ids=[row[0] for row in V2_ROWS])
def test_version_2(header: bytes, expected: str) -> None:
    result = read_proxy_header(header + b"rest")
    assert _show(result) == expected
    if isinstance(result, ProxyHeader):
        assert (result.length, result.version) == (len(header), 2)


def test_version_1_is_bounded() -> None:
    assert _show(read_proxy_header(b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n")) == "socket"
    assert _show(read_proxy_header(b"PROXY UNKNOWN " + b"x" * 93 + b"\r\n")) == "reset"
    assert _show(read_proxy_header(b"PROXY " + b"x" * 101)) == "more"
    assert _show(read_proxy_header(b"PROXY " + b"x" * 102)) == "reset"


def test_tlvs_are_handed_on_as_bytes() -> None:
    result = read_proxy_header(_v2(0x21, 0x11, IPV4 + _tlv(2, b"\xff") + _tlv(4, b"") + _tlv(2, b"b")))
    assert isinstance(result, ProxyHeader)
    assert result.tlvs == ((2, b"\xff"), (4, b""), (2, b"b"))


def test_a_mapped_address_is_the_ipv4_address_it_maps() -> None:
    for header in (_v2(0x21, 0x21, MAPPED), b"PROXY TCP6 ::ffff:10.0.0.1 ::ffff:10.0.0.2 1111 2222\r\n"):
        assert _show(read_proxy_header(header)) == TEN


@pytest.mark.parametrize("ip", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"])
def test_addresses_that_no_connection_has(ip: str) -> None:
    address = ip_address(ip)
    other = ip_address("10.0.0.1" if address.version == 4 else "fd00::1").packed
    family = 0x11 if address.version == 4 else 0x21
    for body in (address.packed + other, other + address.packed):
        assert read_proxy_header(_v2(0x21, family, body + bytes(4))) is ProxyVerdict.INVALID


@given(
    st.sampled_from([row[1] for row in V2_ROWS if len(row[1]) < 300] + [row[0] for row in V1_ROWS] + STRICTER),
    st.binary(max_size=4),
    st.integers(0, 60),
    st.binary(max_size=200),
)
def test_the_verdict_does_not_depend_on_the_pieces(header: bytes, noise: bytes, place: int, rest: bytes) -> None:
    data = header[:place] + noise + header[place + len(noise) :] + rest
    verdicts = [read_proxy_header(data[:end]) for end in range(len(data) + 1)]
    decided = [verdict for verdict in verdicts if verdict is not ProxyVerdict.NEED_MORE]
    assert verdicts[len(verdicts) - len(decided) :] == decided
    assert all(verdict == decided[0] for verdict in decided)
    if decided and isinstance(decided[0], ProxyHeader):
        assert decided[0].length == len(verdicts) - len(decided)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_junk_is_a_verdict(data: bytes, start: bytes) -> None:
    result = read_proxy_header(start + data)
    if isinstance(result, ProxyHeader):
        assert 0 < result.length <= MAX_PROXY_HEADER
