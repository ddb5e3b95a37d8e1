"""Certificates and keys that can't be used are refused by name, without a word of their content."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from meshproxy.config.tls.tls_ciphers import DEFAULT_CIPHERS
from meshproxy.model.tls import (
    CertificateValidation,
    CommonTls,
    DataSource,
    DownstreamTls,
    TlsCertificate,
    TlsParameters,
)
from meshproxy.runtime.tls import openssl
from meshproxy.runtime.tls.authority import LocalAuthority
from meshproxy.runtime.tls.contexts import ServerContexts
from meshproxy.runtime.tls.failures import MaterialError
from meshproxy.runtime.tls.material import LoadedAuthorities, LoadedCertificate, in_memory
from tests.certificates import Authority, dns, folder, uri

CERTS = folder()


def inline(pem: bytes, key: bytes, password: bytes | None = None) -> TlsCertificate:
    return TlsCertificate(
        chain=DataSource(data=pem),
        key=DataSource(data=key),
        password=None if password is None else DataSource(data=password),
    )


def serve(
    *certificates: TlsCertificate, validation: CertificateValidation | None = None, **options: Any
) -> ServerContexts:
    parameters = TlsParameters("TLSv1_2", "TLSv1_3", DEFAULT_CIPHERS)
    config = DownstreamTls(CommonTls(parameters, certificates, validation), **options)
    return ServerContexts(config, [LoadedCertificate(each) for each in certificates], validation)


def good(name: str = "server") -> TlsCertificate:
    issued = CERTS.issued[name]
    return inline(issued.pem, issued.key_pem)


def test_an_encrypted_key_with_its_password() -> None:
    issued = CERTS.issued["server"]
    assert serve(inline(issued.pem, issued.encrypted_key_pem(b"secret"), b"secret")).context is not None
    with pytest.raises(MaterialError, match="private key"):
        serve(inline(issued.pem, issued.encrypted_key_pem(b"secret"), b"wrong"))
    with pytest.raises(MaterialError, match="private key"):
        serve(inline(issued.pem, issued.encrypted_key_pem(b"secret")))


def test_chain_and_key_in_one_file_of_the_other_format() -> None:
    issued = CERTS.issued["middle-client"]
    data = pkcs12.serialize_key_and_certificates(
        b"x", issued.key, issued.certificate, issued.chain[1:], BestAvailableEncryption(b"pw")
    )
    loaded = LoadedCertificate(TlsCertificate(pkcs12=DataSource(data=data), password=DataSource(data=b"pw")))
    assert [each.common_name for each in loaded.chain] == ["middle-client", "middle"]
    with pytest.raises(MaterialError, match="pkcs12"):
        LoadedCertificate(TlsCertificate(pkcs12=DataSource(data=data), password=DataSource(data=b"no")))


@pytest.mark.parametrize(
    ("chain", "key"),
    [("server", "client"), ("garbage", "server"), ("server", "garbage")],
)
def test_what_does_not_fit_is_refused_without_showing_the_key(chain: str, key: str) -> None:
    pem = CERTS.issued[chain].pem if chain in CERTS.issued else b"garbage"
    key_pem = CERTS.issued[key].key_pem if key in CERTS.issued else b"garbage"
    with pytest.raises(MaterialError) as caught:
        serve(inline(pem, key_pem))
    assert "<inline>" in str(caught.value)
    assert "BEGIN" not in str(caught.value)


def test_a_server_has_some_name() -> None:
    authority = Authority("root")
    for names in (("cn",), ("", dns("a.test")), ("", uri("spiffe://a/b"))):
        issued = authority.issue(*names)
        serve(inline(issued.pem, issued.key_pem))
    issued = authority.issue()
    with pytest.raises(MaterialError, match="neither subject CN nor SAN"):
        serve(inline(issued.pem, issued.key_pem))


def test_short_rsa_keys_are_refused() -> None:
    issued = Authority("root").issue("short", kind="rsa1024")
    with pytest.raises(MaterialError, match="2048-bit or larger"):
        LoadedCertificate(inline(issued.pem, issued.key_pem))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(MaterialError, match=r"/none/x\.pem"):
        LoadedCertificate(TlsCertificate(DataSource("/none/x.pem"), DataSource("/none/x.key")))


def test_a_key_in_memory_leaves_nothing_behind() -> None:
    with in_memory(b"secret") as name:
        assert Path(name).read_bytes() == b"secret"
    assert not Path(name).exists()


@pytest.mark.parametrize(("names", "expected"), [(("a.test",), ("a.test",)), ((), ("common",))])
def test_the_common_name_counts_only_without_dns_names(names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    issued = Authority("root").issue("Common", *map(dns, names))
    assert LoadedCertificate(inline(issued.pem, issued.key_pem)).server_names == expected


def trust(**options: Any) -> CertificateValidation:
    return CertificateValidation(trusted_ca=DataSource(str(CERTS.path / "ca.pem")), **options)


@pytest.mark.parametrize(
    ("validation", "required", "mode"),
    [
        (None, False, ssl.CERT_NONE),
        (trust(), False, ssl.CERT_OPTIONAL),
        (trust(), True, ssl.CERT_REQUIRED),
        (trust(hashes=frozenset({b"x" * 32})), False, ssl.CERT_REQUIRED),
    ],
)
def test_when_a_client_is_asked(validation: CertificateValidation | None, required: bool, mode: ssl.VerifyMode) -> None:
    assert serve(good(), validation=validation, require_client_certificate=required).context.verify_mode is mode


@pytest.mark.parametrize(
    "validation", [None, CertificateValidation(hashes=frozenset({b"x" * 32})), trust(accept_untrusted=True)]
)
def test_what_could_not_be_enforced_is_refused(
    validation: CertificateValidation | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openssl, "library", lambda: None)
    with pytest.raises(MaterialError):
        serve(good(), validation=validation, require_client_certificate=True)


def test_no_tickets_where_client_certificates_count() -> None:
    assert serve(good()).context.num_tickets == 2
    mutual = serve(good(), validation=trust()).context
    assert mutual.num_tickets == 0
    assert mutual.options & ssl.OP_NO_TICKET
    assert serve(good(), tickets=False).context.num_tickets == 0


def test_authorities_that_are_none() -> None:
    with pytest.raises(MaterialError, match="trusted CA"):
        LoadedAuthorities(CertificateValidation(trusted_ca=DataSource(data=b"garbage")))
    with pytest.raises(MaterialError, match="CRL"):
        LoadedAuthorities(trust(crl=DataSource(data=b"garbage")))


def test_a_local_authority_is_made_once_and_issues_what_verifies(tmp_path: Path) -> None:
    authority = LocalAuthority(tmp_path / "certs")
    chain, key = authority.issue("web", ("spiffe://cluster.local/ns/default/sa/web", "web.test", "127.0.0.1"))
    again = LocalAuthority(tmp_path / "certs")
    assert again.certificate == authority.certificate
    leaf = x509.load_pem_x509_certificate(chain.read_bytes())
    leaf.verify_directly_issued_by(again.certificate)
    assert key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "certs" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (tmp_path / "certs").iterdir()) == ["ca.key", "ca.pem", "web.key", "web.pem"]
    serve(TlsCertificate(DataSource(str(chain)), DataSource(str(key))))


def test_a_leaf_never_outlives_its_root(tmp_path: Path) -> None:
    authority = LocalAuthority(tmp_path)
    chain, _ = authority.issue("web", ("web.test",), days=100_000)
    leaf = x509.load_pem_x509_certificate(chain.read_bytes())
    assert leaf.not_valid_after_utc == authority.certificate.not_valid_after_utc
    with pytest.raises(ValueError, match="expired"):
        authority.issue("late", ("web.test",), now=datetime.now(UTC) + timedelta(days=4000))
    with pytest.raises(ValueError, match="identity"):
        authority.issue("nobody", ())
