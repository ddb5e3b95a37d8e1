"""`x-forwarded-client-cert` in its five modes."""

from __future__ import annotations

import pytest

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.stream_info import ConnectionInfo, TlsInfo
from meshproxy.runtime.downstream.http_client_certificate import HEADER, client_certificate_header, keeps_forwarded


def connection(*, presented: bool = True) -> ConnectionInfo:
    info = ConnectionInfo()
    info.tls = tls = TlsInfo()
    tls.local_uri_sans = ("spiffe://td/us",)
    if presented:
        tls.peer_presented = True
        tls.peer_fingerprint_256 = "ab12"
        tls.peer_subject = "CN=c,O=o"
        tls.peer_uri_sans = ("spiffe://td/c",)
        tls.peer_dns_sans = ("a.test", "b.test")
    return info


@pytest.mark.parametrize(
    ("mode", "mutual", "server_only", "plain"),
    [
        ("SANITIZE", False, False, False),
        ("FORWARD_ONLY", True, False, False),
        ("APPEND_FORWARD", True, False, False),
        ("SANITIZE_SET", True, False, False),
        ("ALWAYS_FORWARD_ONLY", True, True, True),
    ],
)
def test_what_a_client_sent_stays_only_where_it_may(mode: str, mutual: bool, server_only: bool, plain: bool) -> None:
    assert keeps_forwarded(mode, connection()) is mutual
    assert keeps_forwarded(mode, connection(presented=False)) is server_only
    assert keeps_forwarded(mode, ConnectionInfo()) is plain


def apply(mode: str, given: str | None, info: ConnectionInfo, *details: str) -> str | None:
    request = RequestHeaders("GET", "/", "a")
    if given is not None:
        request[HEADER] = given
    header = client_certificate_header(mode, frozenset(details))
    if header is not None:
        header.apply(request, info)
    return request.get(HEADER)


OURS = "By=spiffe://td/us;Hash=ab12"


@pytest.mark.parametrize(
    ("mode", "given", "details", "expected"),
    [
        ("APPEND_FORWARD", None, (), OURS),
        ("APPEND_FORWARD", "By=x", (), f"By=x,{OURS}"),
        ("SANITIZE_SET", "By=x", (), OURS),
        ("FORWARD_ONLY", "By=x", ("uri",), "By=x"),
        ("SANITIZE_SET", None, ("subject",), f'{OURS};Subject="CN=c,O=o"'),
        ("SANITIZE_SET", None, ("uri", "dns"), f"{OURS};URI=spiffe://td/c;DNS=a.test;DNS=b.test"),
    ],
)
def test_our_own_element(mode: str, given: str | None, details: tuple[str, ...], expected: str) -> None:
    assert apply(mode, given, connection(), *details) == expected


def test_a_client_without_uri_has_an_empty_one() -> None:
    info = connection()
    assert info.tls is not None
    info.tls.peer_uri_sans = ()
    assert apply("SANITIZE_SET", None, info, "uri") == f"{OURS};URI="


def test_nobody_is_vouched_for_without_a_certificate() -> None:
    assert apply("APPEND_FORWARD", None, connection(presented=False), "uri") is None
