"""`x-forwarded-client-cert`: who the client of this hop is, for those behind us (Envoy: "HTTP header manipulation").

Five modes: SANITIZE removes the header; FORWARD_ONLY lets it pass and ALWAYS_FORWARD_ONLY does so even without mutual
TLS; APPEND_FORWARD adds an element for our client, SANITIZE_SET leaves only that. A connection without a client
certificate can't speak for anybody, so that in all modes but one the header is removed there.

The element is the same for all requests of a connection; it is made once and kept with the facts of its handshake.
"""

from __future__ import annotations

from collections.abc import Set

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.stream_info import ConnectionInfo, TlsInfo

HEADER = "x-forwarded-client-cert"


def keeps_forwarded(mode: str, info: ConnectionInfo) -> bool:
    """Whether what the client sent in the header may go on.

    `ClientCertificateHeader` still adds to it, or puts its own in its place.
    """
    if mode == "ALWAYS_FORWARD_ONLY":
        return True
    return mode != "SANITIZE" and info.tls is not None and info.tls.peer_presented


def client_certificate_header(mode: str, details: Set[str]) -> ClientCertificateHeader | None:
    """What adds our own client to the header; None for modes that don't."""
    if mode in ("APPEND_FORWARD", "SANITIZE_SET"):
        return ClientCertificateHeader(details, append=mode == "APPEND_FORWARD")
    return None


class ClientCertificateHeader:
    """details: of `set_current_client_cert_details`: "subject", "cert", "chain", "dns", "uri"."""

    __slots__ = ("_append", "_details")

    def __init__(self, details: Set[str], *, append: bool) -> None:
        self._details = details
        self._append = append

    def apply(self, request: RequestHeaders, info: ConnectionInfo) -> None:
        """Set the header, or append to it, if the client showed a certificate."""
        tls = info.tls
        if tls is None or not tls.peer_presented:
            return
        element = tls.forwarded_element
        if not element:
            element = tls.forwarded_element = describe(tls, self._details)
        if not element:
            return
        given = request.get(HEADER) if self._append else None
        request[HEADER] = f"{given},{element}" if given else element


def describe(tls: TlsInfo, details: Set[str]) -> str:
    """One element of the header: our own URIs, the hash of the client's certificate, then the details asked for."""
    parts = [f"By={uri}" for uri in tls.local_uri_sans]
    parts.append(f"Hash={tls.peer_fingerprint_256}")
    if "cert" in details:
        parts.append(f'Cert="{tls.peer_certificate}"')
    if "chain" in details:
        parts.append(f'Chain="{tls.peer_certificate_chain}"')
    if "subject" in details:
        parts.append(f'Subject="{tls.peer_subject}"')
    if "uri" in details:
        parts += [f"URI={uri}" for uri in tls.peer_uri_sans] or ["URI="]
    if "dns" in details:
        parts += [f"DNS={name}" for name in tls.peer_dns_sans]
    return ";".join(parts)
