"""What is asked of OpenSSL past `ssl`: whole handshakes in memory show that it does it."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from meshproxy.config.tls.tls_ciphers import DEFAULT_CIPHERS
from meshproxy.model.tls import CertificateValidation, CommonTls, DataSource, DownstreamTls, TlsParameters
from meshproxy.runtime.tls import openssl
from meshproxy.runtime.tls.contexts import ServerContexts
from meshproxy.runtime.tls.failures import MaterialError
from meshproxy.runtime.tls.material import LoadedCertificate
from meshproxy.runtime.tls.verify import Peer
from tests.certificates import folder
from tests.unit.tls.test_material import good

CERTS = folder()
V12 = ssl.TLSVersion.TLSv1_2


def serve(validation: CertificateValidation | None = None, **options: Any) -> ServerContexts:
    given = {name: options.pop(name) for name in ("groups", "signature_algorithms") if name in options}
    parameters = TlsParameters(options.pop("minimum", "TLSv1_2"), "TLSv1_3", DEFAULT_CIPHERS, **given)
    common = CommonTls(parameters, certificates=(good(),), validation=validation)
    return ServerContexts(DownstreamTls(common, **options), [LoadedCertificate(good())], validation)


class Ends:
    """Both ends of a handshake, with nothing between them."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(there, back, server_side=True)
        self.client = client.wrap_bio(back, there, server_hostname="server.test", session=session)

    def shake(self) -> Ends:
        for _ in range(4):
            for end in (self.client, self.server):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    pass
        self.server.write(b"x")  # a ticket comes with what follows
        assert self.client.read(1) == b"x"
        return self


def shake(contexts: ServerContexts, name: str = "", **options: Any) -> Ends:
    return Ends(contexts.context, CERTS.client_context(name, **options)).shake()


def accepted(contexts: ServerContexts, name: str = "", **options: Any) -> Peer:
    return contexts.policy.check(shake(contexts, name, **options).server)


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssl, "library", lambda: None)


def test_the_library_is_there() -> None:
    assert openssl.library() is not None


@pytest.mark.parametrize(("group", "name"), [("X25519", "X25519"), ("prime256v1", "P-256"), ("secp384r1", "P-384")])
@pytest.mark.parametrize("version", [V12, ssl.TLSVersion.TLSv1_3])
def test_the_group_of_a_handshake(group: str, name: str, version: ssl.TLSVersion) -> None:
    ends = shake(serve(groups=(group,)), version=version)
    assert openssl.group_of(ends.server) == openssl.group_of(ends.client) == name


def test_the_groups_where_none_are_configured() -> None:
    """Envoy's: the post-quantum one first, where this OpenSSL has it and the client too."""
    client = CERTS.client_context("")
    if openssl.knows_post_quantum_group():
        assert openssl.set_groups(client, (openssl.POST_QUANTUM_GROUP, "X25519"))
    else:
        assert not openssl.set_groups(client, (openssl.POST_QUANTUM_GROUP,))
    expected = openssl.POST_QUANTUM_GROUP if openssl.knows_post_quantum_group() else "X25519"
    assert openssl.group_of(Ends(serve().context, client).shake().server) == expected


def test_groups_of_the_server() -> None:
    contexts = serve(groups=("secp521r1", "secp384r1"))
    assert openssl.group_of(shake(contexts).server) == "P-521"
    with pytest.raises(ssl.SSLError):
        shake(contexts, group="X25519")


def test_no_other_groups_than_envoys_unless_configured() -> None:
    with pytest.raises(ssl.SSLError):
        shake(serve(), group="secp384r1")


@pytest.mark.parametrize(
    ("given", "message"),
    [({"groups": ("nonsense",)}, "ECDH curves nonsense"), ({"signature_algorithms": ("x",)}, "signature algorithms x")],
)
def test_what_openssl_does_not_know(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MaterialError, match=message):
        serve(**given)


def test_signatures() -> None:
    ends = shake(serve(signature_algorithms=("ecdsa_secp256r1_sha256",)))
    assert openssl.peer_signature_of(ends.client) == "ecdsa_secp256r1_sha256"
    assert openssl.peer_signature_of(ends.server) == ""
    with pytest.raises(ssl.SSLError):
        shake(serve(signature_algorithms=("rsa_pss_rsae_sha256",)))


def test_a_certificate_that_nobody_verifies() -> None:
    contexts = serve(CertificateValidation(accept_untrusted=True))
    assert accepted(contexts).chain == ()
    peer = accepted(contexts, "untrusted")
    assert (peer.chain[0].common_name, peer.validated, peer.overlooked) == ("untrusted", False, "")


def test_a_certificate_that_need_not_pass() -> None:
    trusted = DataSource(str(CERTS.path / "ca.pem"))
    contexts = serve(CertificateValidation(trusted_ca=trusted, accept_untrusted=True))
    assert accepted(contexts, "client").validated
    peer = accepted(contexts, "untrusted")
    assert (peer.validated, peer.overlooked) == (False, "fail_verify_error")


@pytest.mark.parametrize("version", [V12, ssl.TLSVersion.TLSv1_3])
def test_a_peer_on_another_curve(version: ssl.TLSVersion) -> None:
    contexts = serve(CertificateValidation(trusted_ca=DataSource(str(CERTS.path / "ca.pem"))))
    assert accepted(contexts, "p384", version=version).validated


@pytest.mark.parametrize("stateful", [True, False])
def test_sessions_of_tls_12(stateful: bool) -> None:
    contexts = serve(tickets=False, stateful=stateful)
    client = CERTS.client_context("", version=V12)
    first = Ends(contexts.context, client).shake()  # as long as it lives: OpenSSL forgets the sessions of broken ones
    assert Ends(contexts.context, client, first.client.session).shake().server.session_reused is stateful


def test_a_session_ends_with_its_time() -> None:
    contexts = serve(session_timeout=60)
    client = CERTS.client_context("", version=V12)
    session = Ends(contexts.context, client).shake().client.session
    assert session is not None
    assert session.ticket_lifetime_hint == 60


def test_old_versions() -> None:
    suites = (*DEFAULT_CIPHERS, "ECDHE-ECDSA-AES128-SHA")
    common = CommonTls(TlsParameters("TLSv1_0", "TLSv1_3", suites), certificates=(good(),))
    contexts = ServerContexts(DownstreamTls(common), [LoadedCertificate(good())], None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old = ssl.TLSVersion.TLSv1_1
    ends = shake(contexts, version=old, ciphers="ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    assert ends.server.version() == "TLSv1.1"


@pytest.mark.parametrize("name", ["a.test", "a..b", ".a", "x" * 64 + ".test", "a_b~c", "192.0.2.1", "x" * 255])
def test_server_names_of_any_looks(name: str) -> None:
    seen: list[str | None] = []
    contexts = serve()
    contexts.context.sni_callback = lambda _tls, name, _context: seen.append(name)
    ends = Ends(contexts.context, CERTS.client_context("", version=V12))
    assert openssl.set_server_name(ends.client, name)
    ends.shake()
    assert seen == [name]


@pytest.mark.parametrize("name", ["x" * 256, "a\0b", ""])
def test_server_names_that_can_not_be_sent(name: str) -> None:
    client = CERTS.client_context("").wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    assert not openssl.set_server_name(client, name)


@pytest.mark.parametrize(
    "refuse",
    [
        lambda context: openssl.set_groups(context, ("nonsense",)),
        lambda context: openssl.set_signature_algorithms(context, ("nonsense",)),
        lambda context: openssl.set_server_name(context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO()), "x" * 256),
    ],
)
def test_a_refused_name_leaves_no_error_behind(refuse: Callable[[ssl.SSLContext], bool]) -> None:
    context = CERTS.client_context("")
    assert not refuse(context)
    context.load_verify_locations(cadata=ssl.PEM_cert_to_DER_cert((CERTS.path / "ca.pem").read_text()))


@pytest.mark.usefixtures("no_library")
def test_without_the_library() -> None:
    assert openssl.group_of(shake(serve()).server) == ""
    assert openssl.peer_signature_of(shake(serve()).client) == ""
    shake(serve(groups=("prime256v1",)))
    for given in (
        {"groups": ("X25519", "prime256v1")},
        {"groups": ("nonsense",)},
        {"signature_algorithms": ("ecdsa_secp256r1_sha256",)},
        {"session_timeout": 1},
        {"stateful": False},
        {"validation": CertificateValidation(accept_untrusted=True)},
    ):
        with pytest.raises(MaterialError):
            serve(**given)
