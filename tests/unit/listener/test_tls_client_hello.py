import json
import random
import ssl
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshproxy_filters.listener.tls_client_hello import (
    MAX_CLIENT_HELLO,
    ClientHello,
    ClientHelloReader,
    TlsVerdict,
    read_client_hello,
)

# Bytes and what Envoy 1.40.0's tls_inspector made of them.
TABLE = json.loads(Path(__file__).with_name("client_hellos.json").read_text())


def _openssl_hello(server_name: str | None, alpn: list[str], minimum: ssl.TLSVersion) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = minimum
    if alpn:
        context.set_alpn_protocols(alpn)
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name).do_handshake()
    return outgoing.read()


HELLO = _openssl_hello("Www.Example.com", ["istio-http/1.1", "h2"], ssl.TLSVersion.TLSv1_3)


def _records(hello: bytes, size: int) -> bytes:
    """The same message in records of `size` bytes."""
    message = hello[5:]
    pieces = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def _feed(data: bytes, step: int) -> list[ClientHello | TlsVerdict]:
    reader = ClientHelloReader()
    return [reader.read(data[:end]) for end in [*range(0, len(data), step), len(data)]]


def test_a_real_client_hello() -> None:
    expected = ClientHello("www.example.com", ("istio-http/1.1", "h2"), (0x0304,))
    assert read_client_hello(HELLO) == expected
    assert read_client_hello(HELLO + b"\x17more") == expected
    both = read_client_hello(_openssl_hello(None, [], ssl.TLSVersion.TLSv1_2))
    assert both == ClientHello("", (), (0x0304, 0x0303))


@pytest.mark.parametrize("size", [1, 3, 4, 5, 100, 511, 10_000])
@pytest.mark.parametrize("step", [1, 7, 600])
def test_any_records_in_any_segments(size: int, step: int) -> None:
    verdicts = _feed(_records(HELLO, size), step)
    assert isinstance(verdicts[-1], ClientHello)
    assert verdicts[-1].server_name == "www.example.com"
    assert verdicts[-1].application_protocols == ("istio-http/1.1", "h2")
    assert set(verdicts) == {TlsVerdict.NEED_MORE, verdicts[-1]}


@pytest.mark.parametrize("row", TABLE["rows"], ids=[row[0] for row in TABLE["rows"]])
def test_the_verdict_is_envoys(row: list[str]) -> None:
    _, data, transport, server_name, protocol = row
    result = read_client_hello(bytes.fromhex(data))
    if transport == "tls":
        assert isinstance(result, ClientHello)
        assert result.server_name == server_name
        assert (result.application_protocols or ("",))[0] == protocol
    elif row[0] == "ssl3":
        # Envoy closes the connection, and so does the inspector.
        assert result is TlsVerdict.TOO_OLD
    else:
        # An alert as the first message makes Envoy close, too; here it is a connection that isn't TLS.
        assert transport == "raw" or row[0] == "alert"
        assert result is TlsVerdict.NOT_TLS


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\x00", b"\x17\x03", b"\x16\x02", b"\x80\x2e\x01"])
def test_other_protocols_are_refused_at_their_first_wrong_byte(data: bytes) -> None:
    assert read_client_hello(data) is TlsVerdict.NOT_TLS


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x16",
        b"\x16\x03",
        b"\x16\x03\x01",
        b"\x16\x03\x01\0\0",
        b"\x16\x03\x01\x01\x00",
        b"\x16\x03\x01\x01\x00\x01",
    ],
)
def test_the_beginning_of_a_hello_needs_more(data: bytes) -> None:
    assert read_client_hello(data) is TlsVerdict.NEED_MORE


def test_a_server_name_that_no_host_has_is_none() -> None:
    for name in (b"www.example\ncom", b"www.ex\x1b[mple.com", b"www.ex\xe9mple.com"):
        damaged = HELLO.replace(b"Www.Example.com", (name + b"....")[:15])
        result = read_client_hello(damaged)
        assert isinstance(result, ClientHello)
        assert (result.server_name, result.application_protocols) == ("", ("istio-http/1.1", "h2"))


def test_too_large_is_known_early() -> None:
    assert read_client_hello(b"\x16\x03\x01\x40\x00\x01\x00\x40\x00") is TlsVerdict.TOO_LARGE
    assert read_client_hello(b"\x16\x03\x01\x40\x00\x01\x00\x40\x01") is TlsVerdict.TOO_LARGE
    assert read_client_hello(b"\x16\x03\x01\x3f\x00\x01\x00\x40\x01") is TlsVerdict.TOO_LONG
    # Small enough by itself, too large with its record headers.
    message = b"\x01" + (12_000).to_bytes(3, "big") + bytes(12_000)
    verdicts = _feed(_records(bytes(5) + message, 2), 997)
    assert verdicts[-1] is TlsVerdict.TOO_LARGE
    assert verdicts.index(TlsVerdict.TOO_LARGE) * 997 <= MAX_CLIENT_HELLO + 997


@settings(max_examples=200)
@given(st.data())
def test_damage_gives_one_verdict_however_it_is_cut(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([1, 9, 300, 10_000]))
    wire = bytearray(_records(HELLO, size))
    for _ in range(data.draw(st.integers(0, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    del wire[data.draw(st.integers(0, len(wire))) :]
    whole = read_client_hello(bytes(wire))
    seed = data.draw(st.integers(0, 1000))
    draw, reader, position = random.Random(seed), ClientHelloReader(), 0
    while position < len(wire):
        position = min(len(wire), position + draw.randrange(1, 200))
        verdict = reader.read(bytes(wire[:position]))
        if verdict is not TlsVerdict.NEED_MORE:
            break
    else:
        verdict = reader.read(bytes(wire))
    assert verdict == whole


@given(
    st.binary(max_size=400), st.sampled_from([b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\x80\x01\x00\x00\x7c\x03\x03"])
)
def test_junk_is_a_verdict(junk: bytes, start: bytes) -> None:
    assert isinstance(read_client_hello(start + junk), ClientHello | TlsVerdict)
