import random
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshproxy.address import (
    CidrRange,
    CidrSet,
    CidrTable,
    PipeAddress,
    SocketAddress,
    canonical_ip,
    from_sockaddr,
    is_ip,
    make_address,
    parse_address,
    parse_port,
)


@pytest.mark.parametrize(
    ("text", "ip", "port"),
    [
        ("1.2.3.4:80", "1.2.3.4", 80),
        ("[::1]:80", "::1", 80),
        ("[2001:DB8:0::1]:65535", "2001:db8::1", 65535),
        ("[::ffff:1.2.3.4]:1", "1.2.3.4", 1),
        ("0.0.0.0:0", "0.0.0.0", 0),
    ],
)
def test_parse_address(text: str, ip: str, port: int) -> None:
    assert parse_address(text) == SocketAddress(ip, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4: 80",
        "1.2.3.4:８０",
        "1.2.3:80",
        "01.2.3.4:80",
        "::1:80",
        "[::1]",
        "[::1:80",
        "[1.2.3.4]:80",
        "[fe80::1%eth0]:80",
        "host:80",
        "1.2.3.4:000080",
    ],
)
def test_parse_address_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_address(text)


@given(st.text(max_size=40))
def test_any_text_gives_an_address_or_a_value_error(text: str) -> None:
    for parse in (parse_address, canonical_ip, parse_port, CidrRange.parse):
        try:
            parse(text)
        except ValueError:
            pass
    assert is_ip(text) in (True, False)


def test_text_is_envoys() -> None:
    assert SocketAddress("1.2.3.4", 80).text == "1.2.3.4:80"
    assert SocketAddress("::1", 80).text == str(SocketAddress("::1", 80)) == "[::1]:80"
    assert SocketAddress("::1", 80).with_port(81).text == "[::1]:81"


def test_equal_addresses_have_one_hash() -> None:
    assert len({parse_address("[0:0::1]:5"), make_address("::1", 5), SocketAddress("::1", 5)}) == 1


def test_from_sockaddr_undoes_mapping_and_drops_the_zone() -> None:
    assert from_sockaddr(("10.0.0.1", 7)) == SocketAddress("10.0.0.1", 7)
    assert from_sockaddr(("::ffff:10.0.0.1", 7, 0, 0)) == SocketAddress("10.0.0.1", 7)
    assert from_sockaddr(("fe80::1%eth0", 7, 0, 2)) == SocketAddress("fe80::1", 7)
    with pytest.raises(ValueError, match="IP socket"):
        from_sockaddr((b"/x", 1))


def test_loopback_is_only_the_canonical_address() -> None:
    assert SocketAddress("127.0.0.1", 1).is_loopback
    assert SocketAddress("::1", 1).is_loopback
    assert not SocketAddress("127.0.0.6", 1).is_loopback
    assert SocketAddress("::", 1).is_any
    assert SocketAddress("::", 1).is_v6


def test_make_address_checks_the_port() -> None:
    with pytest.raises(ValueError, match="70000"):
        make_address("1.2.3.4", 70000)


def test_pipe_address() -> None:
    assert PipeAddress("/run/x").text == str(PipeAddress("/run/x")) == PipeAddress("/run/x").bind_name == "/run/x"
    assert PipeAddress("@x").bind_name == "\0x"
    assert PipeAddress("@x").text == "@x"


@pytest.mark.parametrize(
    ("address", "length", "text"),
    [
        ("10.1.2.3", 8, "10.0.0.0/8"),
        ("10.1.2.3/8", None, "10.0.0.0/8"),
        ("10.1.2.3", None, "10.1.2.3/32"),
        ("10.1.2.3", 0, "0.0.0.0/0"),
        ("2001:db8::ff", 32, "2001:db8::/32"),
        ("::", 0, "::/0"),
        ("::1", None, "::1/128"),
        ("::ffff:10.1.2.3", 104, "10.0.0.0/8"),
    ],
)
def test_cidr_range(address: str, length: int | None, text: str) -> None:
    assert str(CidrRange.parse(address, length)) == text


@pytest.mark.parametrize(
    ("address", "length"), [("10.0.0.0", 33), ("::", 129), ("10.0.0.0/x", None), ("x", 8), ("10.0.0", 8), ("::1%a", 64)]
)
def test_cidr_range_refuses(address: str, length: int | None) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        CidrRange.parse(address, length)


def test_longest_range_wins() -> None:
    table = CidrTable(
        (CidrRange.parse(text), text) for text in ("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "fd00::/8")
    )
    for ip, expected in [
        ("10.1.1.1", "10.1.1.1"),
        ("10.1.1.2", "10.1.0.0/16"),
        ("10.2.1.1", "10.0.0.0/8"),
        ("::ffff:10.2.1.1", "10.0.0.0/8"),
        ("11.2.1.1", "0.0.0.0/0"),
        ("fd00::1", "fd00::/8"),
        ("fe00::1", None),
    ]:
        assert table.find(ip) == expected
    with pytest.raises(ValueError, match="twice"):
        CidrTable([(CidrRange.parse("10.0.0.1/8"), 1), (CidrRange.parse("10.0.0.2/8"), 2)])


def test_membership_agrees_with_the_standard_library() -> None:
    draw = random.Random(5)
    texts = [
        f"{draw.randrange(4)}.{draw.randrange(4)}.0.{draw.randrange(256)}/{draw.randrange(14, 33)}" for _ in range(12)
    ]
    texts += [f"{draw.randrange(9):x}::{draw.randrange(9):x}/{draw.randrange(14, 129)}" for _ in range(12)]
    networks = [ip_network(text, strict=False) for text in texts]
    ranges = [CidrRange.parse(text) for text in texts]
    members = CidrSet(ranges)
    seen = set()
    for _ in range(2000):
        ip = f"{draw.randrange(6)}.{draw.randrange(6)}.0.{draw.randrange(256)}"
        if draw.randrange(2):
            ip = f"{draw.randrange(16):x}::{draw.randrange(16):x}"
        expected = any(ip_address(ip) in network for network in networks)
        assert (ip in members) is expected
        assert any(range_.contains(ip) for range_ in ranges) is expected
        seen.add(expected)
    assert seen == {True, False}
