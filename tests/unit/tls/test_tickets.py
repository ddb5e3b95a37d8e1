"""Sessions that are resumed by another server, which has the keys of their tickets."""

from __future__ import annotations

import os
import ssl
from typing import Any

import pytest

from meshproxy.config.tls.tls_ciphers import DEFAULT_CIPHERS
from meshproxy.model.tls import CertificateValidation, CommonTls, DataSource, DownstreamTls, TlsParameters
from meshproxy.runtime.tls import openssl
from meshproxy.runtime.tls.contexts import ServerContexts
from meshproxy.runtime.tls.failures import MaterialError
from meshproxy.runtime.tls.material import LoadedCertificate
from tests.certificates import folder
from tests.unit.tls.test_material import good
from tests.unit.tls.test_openssl import Ends

CERTS = folder()
OLD, NEW = bytes(range(80)), os.urandom(80)
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
TRUSTED = CertificateValidation(trusted_ca=DataSource(str(CERTS.path / "ca.pem")), digest=b"rules")
OTHERS = CertificateValidation(trusted_ca=DataSource(str(CERTS.path / "both.pem")), digest=b"rules")


def server(
    *keys: bytes, validation: CertificateValidation | None = None, name: str = "server", **options: Any
) -> ServerContexts:
    common = CommonTls(TlsParameters("TLSv1_2", "TLSv1_3", DEFAULT_CIPHERS), (good(name),), validation)
    config = DownstreamTls(common, stateful=False, **options)
    return ServerContexts(config, [LoadedCertificate(good(name))], validation, keys)


def resumed(first: ServerContexts, second: ServerContexts, version: ssl.TLSVersion, name: str = "") -> bool:
    """Whether the second server goes on with the session that the first one began."""
    client = CERTS.client_context(name, version=version)
    session = Ends(first.context, client).shake().client.session
    return bool(Ends(second.context, client, session).shake().server.session_reused)


@pytest.mark.parametrize("version", VERSIONS)
class TestTickets:
    def test_of_another_server_with_the_key(self, version: ssl.TLSVersion) -> None:
        assert resumed(server(NEW), server(NEW), version)

    def test_of_a_key_that_is_not_the_first_any_more(self, version: ssl.TLSVersion) -> None:
        assert resumed(server(OLD), server(NEW, OLD), version)

    def test_are_sealed_with_the_first_key(self, version: ssl.TLSVersion) -> None:
        assert not resumed(server(NEW, OLD), server(OLD), version)

    def test_of_an_unknown_key(self, version: ssl.TLSVersion) -> None:
        assert not resumed(server(OLD), server(NEW), version)

    def test_without_keys_are_our_own(self, version: ssl.TLSVersion) -> None:
        assert not resumed(server(), server(), version)

    def test_with_client_certificates(self, version: ssl.TLSVersion) -> None:
        mutual = server(NEW, validation=TRUSTED, require_client_certificate=True)
        assert resumed(mutual, server(NEW, validation=TRUSTED, require_client_certificate=True), version, "client")

    def test_of_a_server_that_asks_for_no_certificate(self, version: ssl.TLSVersion) -> None:
        """A client mustn't get round the authentication of one server by a session of another."""
        mutual = server(NEW, validation=TRUSTED)
        assert not resumed(server(NEW), mutual, version)

    def test_of_a_server_that_trusts_others(self, version: ssl.TLSVersion) -> None:
        assert not resumed(server(NEW, validation=OTHERS), server(NEW, validation=TRUSTED), version, "client")

    def test_of_a_server_of_another_name(self, version: ssl.TLSVersion) -> None:
        assert not resumed(server(NEW), server(NEW, name="two"), version)


@pytest.mark.parametrize("key", [b"", b"x" * 79, b"x" * 81])
def test_keys_of_another_length(key: bytes) -> None:
    with pytest.raises(MaterialError, match=f"Length {len(key)}, expected length 80"):
        server(NEW, key)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssl, "library", lambda: None)
    with pytest.raises(MaterialError, match="can't"):
        server(NEW)
