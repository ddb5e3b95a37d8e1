"""What a completed handshake told, as the `TlsInfo` that logs, headers and rules read."""

from __future__ import annotations

import ssl
import weakref
from collections import OrderedDict
from typing import Any

from meshproxy.plugin.stream_info import TlsInfo
from meshproxy.runtime.tls import openssl
from meshproxy.runtime.tls.facts import CertificateFacts, local_facts, peer_facts
from meshproxy.runtime.tls.verify import Peer

_REMEMBERED = 1024
_OLDEST = {ssl.TLSVersion.TLSv1: "TLSv1", ssl.TLSVersion.TLSv1_1: "TLSv1.1"}
_peers: OrderedDict[tuple[CertificateFacts, ...], dict[str, Any]] = OrderedDict()


class HandshakeInfo(TlsInfo):
    """The session's id is looked up when somebody asks: `ssl` copies the whole session for it, which takes as long as
    half a handshake."""

    def __init__(self, tls: ssl.SSLObject) -> None:
        self._tls = weakref.ref(tls)

    @property
    def session_id(self) -> str:  # type: ignore[override]  # read only, where the base has a plain fact
        tls = self._tls()
        session = tls.session if tls is not None and self.version == "TLSv1.2" else None
        return session.id.hex() if session is not None else ""


def tls_info(tls: ssl.SSLObject, peer: Peer, local: CertificateFacts | None) -> TlsInfo:
    """The facts of one connection. local: the certificate that we showed."""
    info = HandshakeInfo(tls)
    known = info.__dict__
    if peer.chain:
        known.update(_peer(peer.chain))
        if peer.validated:
            info.peer_validated = True
    if local is not None:
        known.update(local_facts(local))
    cipher = tls.cipher()
    info.cipher = cipher[0] if cipher is not None else ""
    info.version = tls.version() or ""
    info.group = openssl.group_of(tls)
    return info


def unfinished_info(tls: ssl.SSLObject) -> TlsInfo:
    """What is known of a handshake that failed. As long as no version is agreed on it is the one Envoy begins with."""
    info = TlsInfo()
    version = openssl.version_of(tls)
    info.version = version if version >= _OLDEST.get(tls.context.minimum_version, "TLSv1.2") else "TLSv1.2"
    return info


def _peer(chain: tuple[CertificateFacts, ...]) -> dict[str, Any]:
    found = _peers.get(chain)
    if found is None:
        found = _peers[chain] = peer_facts(chain)
        if len(_peers) > _REMEMBERED:
            _peers.popitem(last=False)
    return found
