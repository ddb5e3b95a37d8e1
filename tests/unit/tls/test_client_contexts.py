"""Clusters that would have like contexts have one; whatever a context is made of keeps them apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshproxy.config.tls.tls_ciphers import DEFAULT_CIPHERS
from meshproxy.model.tls import CertificateValidation, CommonTls, DataSource, TlsParameters, UpstreamTls
from meshproxy.runtime.tls.client_contexts import ClientContext
from meshproxy.runtime.tls.material import LoadedCertificate
from tests.certificates import folder
from tests.unit.tls.test_material import good

CERTS = folder()
VALIDATION = CertificateValidation(trusted_ca=DataSource(str(CERTS.path / "ca.pem")))
PLAIN = CommonTls(TlsParameters("TLSv1_2", "TLSv1_3", DEFAULT_CIPHERS), alpn=("istio",))


def made(
    common: CommonTls = PLAIN, validation: CertificateValidation | None = VALIDATION, sni: str = ""
) -> ClientContext:
    return ClientContext(UpstreamTls(common, sni=sni), [LoadedCertificate(good())], validation)


def test_names_are_no_part_of_a_context() -> None:
    one, other = made(sni="a"), made(validation=replace(VALIDATION, hashes=frozenset((b"x" * 32,))), sni="b")
    assert one.context_for("") is other.context_for("")
    assert one.context_for("", "istio-h2,h2") is other.context_for("", "istio-h2,h2") is not one.context_for("")


@pytest.mark.parametrize(
    ("common", "validation"),
    [
        (replace(PLAIN, alpn=("h2",)), VALIDATION),
        (replace(PLAIN, parameters=replace(PLAIN.parameters, maximum="TLSv1_2")), VALIDATION),
        (PLAIN, None),
        (PLAIN, replace(VALIDATION, allow_expired=True)),
        (PLAIN, replace(VALIDATION, accept_untrusted=True)),
        (PLAIN, replace(VALIDATION, trusted_ca=DataSource(str(CERTS.path / "ca2.pem")))),
        (PLAIN, replace(VALIDATION, crl=DataSource(str(CERTS.path / "crl.pem")))),
    ],
    ids=["alpn", "versions", "no-authority", "expired", "untrusted", "authority", "revocations"],
)
def test_what_a_context_is_made_of_keeps_it_apart(common: CommonTls, validation: CertificateValidation | None) -> None:
    one = made()
    assert made(common, validation).context_for("") is not one.context_for("")


def test_another_certificate_has_another_context() -> None:
    one = made()
    assert ClientContext(UpstreamTls(PLAIN), [], VALIDATION).context_for("") is not one.context_for("")
