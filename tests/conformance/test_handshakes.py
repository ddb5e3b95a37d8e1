"""The table of handshakes in docs/tls.md is what both programs do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from .handshakes import scan

PAGE = Path(__file__).parents[2] / "docs" / "tls.md"
HEAD = "| offered | Envoy 1.40 | meshproxy |"
# OpenSSL's suites can't be equals, and it makes no signatures with SHA-1 unless old versions are allowed.
DEPENDENT = {
    "TLS 1.2, signature by an EC key: ECDSA+SHA1",
    "TLS 1.2, signature by an RSA key: RSA+SHA1",
}
DECLARED = DEPENDENT | {f"suites of TLS 1.2, {kind} key" for kind in ("EC", "RSA")}


def table() -> Iterator[tuple[str, str, str]]:
    lines = PAGE.read_text().split(HEAD)[1].splitlines()[2:]
    for line in lines:
        if not line.startswith("|"):
            return
        name, envoys, ours = (cell.strip() for cell in line.strip("|").split("|"))
        yield name, envoys, envoys if ours == "the same" else ours


def test_what_differs_is_declared() -> None:
    assert {name for name, envoys, ours in table() if envoys != ours} == DECLARED


def test_program() -> None:
    ours = asyncio.run(scan("meshproxy"))
    expected = {name: ours for name, _, ours in table()}
    assert ours.keys() == expected.keys()
    sure = expected.keys() if ssl.OPENSSL_VERSION_INFO[:2] == (3, 0) else expected.keys() - DEPENDENT
    assert {name: ours[name] for name in sure} == {name: expected[name] for name in sure}


@pytest.mark.envoy
def test_envoy() -> None:
    assert asyncio.run(scan("envoy")) == {name: envoys for name, envoys, _ in table()}
