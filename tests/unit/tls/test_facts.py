"""What is read off a certificate."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshproxy.runtime.tls.der import elements
from meshproxy.runtime.tls.facts import CertificateFacts, facts_of, peer_facts, serial_text
from meshproxy.runtime.tls.names import attributes as attributes_of
from meshproxy.runtime.tls.names import name_text
from tests.certificates import UPN, Authority, dns, email, ip, uri


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("root")


def test_names_are_told_apart_by_kind(authority: Authority) -> None:
    issued = authority.issue("c", uri("spiffe://a/b"), dns("a.test"), ip("::1"), dns("*.b.test"), email("x@y.test"))
    facts = facts_of(issued.der)
    assert facts.uri == ("spiffe://a/b",)
    assert facts.dns == ("a.test", "*.b.test")
    assert facts.ip == ("::1",)
    assert facts.email == ("x@y.test",)
    assert facts.common_name == "c"


@pytest.mark.parametrize(
    ("der", "texts"),
    [
        (b"\x0c\x03a@b", ("a@b",)),
        (b"\x1e\x04\x00a\x00b", ("ab",)),
        (b"\x0c\x81\x80" + b"x" * 128, ("x" * 128,)),
        (b"\x0c\x02a\n", ()),
        (b"\x0c\x02\xff\xfe", ()),
        (b"\x02\x01\x05", ()),
    ],
)
def test_other_names_that_are_text(authority: Authority, der: bytes, texts: tuple[str, ...]) -> None:
    name = x509.OtherName(x509.ObjectIdentifier(UPN), der)
    assert facts_of(authority.issue("c", name).der).other == tuple((UPN, text) for text in texts)


def test_digests(authority: Authority) -> None:
    issued = authority.issue("c")
    facts = facts_of(issued.der)
    spki = issued.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert facts.fingerprint_256 == hashlib.sha256(issued.der).hexdigest()
    assert facts.fingerprint_1 == hashlib.sha1(issued.der).hexdigest()
    assert facts.spki_256 == hashlib.sha256(spki).digest()


@pytest.mark.parametrize("bad", ["a.test\0.evil.test", "a\r\nx-admin: yes", "a\x7f", "a\tb"])
def test_a_name_with_control_characters_is_no_name(authority: Authority, bad: str) -> None:
    facts = facts_of(authority.issue("c", dns(bad), dns("good.test"), uri("spiffe://a/" + bad)).der)
    assert facts.dns == ("good.test",)
    assert facts.uri == ()


def test_the_same_certificate_is_parsed_once(authority: Authority) -> None:
    der = authority.issue("c").der
    assert facts_of(der) is facts_of(bytes(bytearray(der)))


def test_what_is_no_certificate_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        CertificateFacts(b"\x30\x03\x02\x01\x01")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ([("2.5.4.10", "Istio"), ("2.5.4.3", "client")], "CN=client,O=Istio"),
        ([("2.5.4.3", "a,b+c")], r"CN=a\,b\+c"),
        ([("2.5.4.3", " lead and trail ")], r"CN=\ lead and trail\ "),
        ([("2.5.4.3", "#x")], r"CN=\#x"),
        ([("2.5.4.3", 'q"\\<>;')], r"CN=q\"\\\<\>\;"),
        ([("2.5.4.3", "é\n")], r"CN=\C3\A9\0A"),
        ([("1.2.840.113549.1.9.1", "a@b")], "emailAddress=a@b"),
        ([], ""),
    ],
)
def test_distinguished_names_as_rfc_2253_writes_them(attributes: list[tuple[str, str]], expected: str) -> None:
    name = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(oid), value) for oid, value in attributes])
    (whole,) = elements(name.public_bytes())
    assert name_text(attributes_of(whole)) == expected


@pytest.mark.parametrize(("number", "expected"), [(1, "01"), (0x0ABC, "0abc"), (0xFF, "ff")])
def test_serial_numbers_have_whole_bytes(number: int, expected: str) -> None:
    assert serial_text(number) == expected


def test_facts_of_a_peer_leave_out_what_is_empty(authority: Authority) -> None:
    facts = peer_facts([facts_of(authority.issue("c", dns("a.test")).der)])
    assert facts["peer_presented"] is True
    assert facts["peer_dns_sans"] == ("a.test",)
    assert "peer_uri_sans" not in facts
    assert "peer_issuer_serial" not in facts


def test_the_issuer_is_what_was_sent_behind_the_leaf(authority: Authority) -> None:
    middle = Authority("middle", authority)
    issued = middle.issue("c")
    facts = peer_facts([facts_of(each.public_bytes(Encoding.DER)) for each in issued.chain])
    assert facts["peer_issuer_serial"] == serial_text(middle.certificate.serial_number)
    assert len(facts["peer_chain_fingerprints_256"]) == 2
