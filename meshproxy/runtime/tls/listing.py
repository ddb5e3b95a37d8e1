"""The certificates in use, as Envoy's `/certs` lists them (envoy.admin.v3.Certificates).

Without TLS nothing is listed and nothing of `ssl` imported.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshproxy.model.listener import TransportSocket
from meshproxy.model.snapshot import Snapshot

if TYPE_CHECKING:
    from meshproxy.runtime.tls.contexts import Generation
    from meshproxy.runtime.tls.facts import CertificateFacts

_DAY = 86400


def transport_sockets(snapshot: Snapshot) -> Iterator[TransportSocket]:
    """Every transport socket that isn't raw: of clusters, then of listeners."""
    for cluster in snapshot.clusters.values():
        for socket in (cluster.transport_socket, *(match.socket for match in cluster.transport_socket_matches)):
            if socket is not None:
                yield socket
    for listener in snapshot.listeners:
        default = listener.default_filter_chain
        for chain in (*listener.filter_chains, *((default,) if default is not None else ())):
            if chain.transport_socket is not None:
                yield chain.transport_socket


def _generations(snapshot: Snapshot) -> Iterator[Generation]:
    for socket in transport_sockets(snapshot):
        slot = socket.config
        if slot.changed():
            slot.reload()  # a fault is the watcher's to tell
        if slot.generation is not None:
            yield slot.generation


def list_certificates(snapshot: Snapshot) -> list[dict[str, Any]]:
    """What `/certs` shows under "certificates", as values for JSON. Never a key."""
    now = time.time()
    listed = []
    for generation in _generations(snapshot):
        authorities = generation.authorities
        first = authorities.authorities[:1] if authorities is not None else []
        listed.append(
            {
                "ca_cert": [_describe(facts, authorities.label, now) for facts in first if authorities is not None],
                "cert_chain": [_describe(each.leaf, each.label, now) for each in generation.certificates],
            }
        )
    return listed


def days_until_first_expiry(snapshot: Snapshot) -> int | None:
    """Whole days until the first certificate in use expires, 0 for one that has; None without certificates."""
    ends = [
        facts.not_after
        for generation in _generations(snapshot)
        for facts in (
            *(certificate.leaf for certificate in generation.certificates),
            *(generation.authorities.authorities[:1] if generation.authorities is not None else ()),
        )
    ]
    return max(int((min(ends) - time.time()) // _DAY), 0) if ends else None


def _describe(facts: CertificateFacts, path: str, now: float) -> dict[str, Any]:
    names = [{"dns": name} for name in facts.dns]
    names += [{"uri": name} for name in facts.uri]
    names += [{"ip_address": name} for name in facts.ip]
    return {
        "path": path,
        "serial_number": facts.serial,
        "subject_alt_names": names,
        "days_until_expiration": str(max(int((facts.not_after - now) // _DAY), 0)),
        "valid_from": _time(facts.not_before),
        "expiration_time": _time(facts.not_after),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
