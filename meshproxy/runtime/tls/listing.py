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
    from meshproxy.runtime.tls.material import LoadedCertificate

_DAY = 86400
_UNNAMED, _UNNAMED_CA = "unnamed_cert_e3b0c442", "unnamed_ca_cert_e3b0c442"  # Envoy adds a hash of the empty name


def transport_sockets(snapshot: Snapshot) -> Iterator[TransportSocket]:
    """Every transport socket that isn't raw: of clusters, then of listeners."""
    return (socket for _, socket in _named_sockets(snapshot))


def _named_sockets(snapshot: Snapshot) -> Iterator[tuple[str, TransportSocket]]:
    """The same, behind how the statistics of their owners begin."""
    for cluster in snapshot.clusters.values():
        for socket in (cluster.transport_socket, *(match.socket for match in cluster.transport_socket_matches)):
            if socket is not None:
                yield f"cluster.{cluster.alt_stat_name or cluster.name}.", socket
    for listener in snapshot.listeners:
        default = listener.default_filter_chain
        for chain in (*listener.filter_chains, *((default,) if default is not None else ())):
            if chain.transport_socket is not None:
                yield f"listener.{listener.stat_name}.", chain.transport_socket


def _generations(snapshot: Snapshot) -> Iterator[tuple[str, Generation]]:
    """What is in use now, behind how the statistics of its owner begin."""
    for owner, socket in _named_sockets(snapshot):
        slot = socket.config
        if slot.changed():
            slot.reload()  # a fault is the watcher's to tell
        if slot.generation is not None:
            yield owner, slot.generation


def list_certificates(snapshot: Snapshot) -> list[dict[str, Any]]:
    """What `/certs` shows under "certificates", as values for JSON. Never a key."""
    listed = []
    for _, generation in _generations(snapshot):
        authorities = generation.authorities
        first = authorities.authorities[:1] if authorities is not None else []
        listed.append(
            {
                "ca_cert": [_describe(facts, authorities.label) for facts in first if authorities is not None],
                "cert_chain": [_describe_own(each) for each in generation.certificates],
            }
        )
    return listed


def expirations_of(snapshot: Snapshot) -> Iterator[tuple[str, int]]:
    """When the certificates in use expire, and the first authority of each context, in seconds since 1970.

    Each behind the name of its gauge, which is that of the secret, or one that says that there is none.
    """
    for owner, generation in _generations(snapshot):
        for certificate in generation.certificates:
            yield _gauge(owner, certificate.name or _UNNAMED), int(certificate.leaf.not_after)
        authorities = generation.authorities
        if authorities is not None and authorities.authorities:
            yield _gauge(owner, authorities.name or _UNNAMED_CA), int(authorities.authorities[0].not_after)


def first_response_ends(snapshot: Snapshot) -> int:
    """In how many seconds the first OCSP response is over; 0 where it is, or where there is none."""
    stapled = (each.staple for _, generation in _generations(snapshot) for each in generation.certificates)
    return max(int(min((staple.ends for staple in stapled if staple is not None), default=0) - time.time()), 0)


def _gauge(owner: str, name: str) -> str:
    return f"{owner}ssl.certificate.{name}.expiration_unix_time_seconds"


def days_until(end: int) -> int:
    """Whole days until then; 0 when it is past."""
    return max(int((end - time.time()) // _DAY), 0)


def _describe_own(certificate: LoadedCertificate) -> dict[str, Any]:
    described = _describe(certificate.leaf, certificate.label)
    staple = certificate.staple
    if staple is not None:
        ends = staple.ends or time.time()  # in Envoy a response without an end is over at any time
        described["ocsp_details"] = {"valid_from": _time(staple.starts), "expiration": _time(ends)}
    return described


def _describe(facts: CertificateFacts, path: str) -> dict[str, Any]:
    names = [{"dns": name} for name in facts.dns]
    names += [{"uri": name} for name in facts.uri]
    names += [{"ip_address": name} for name in facts.ip]
    return {
        "path": path,
        "serial_number": facts.serial,
        "subject_alt_names": names,
        "days_until_expiration": str(days_until(int(facts.not_after))),
        "valid_from": _time(facts.not_before),
        "expiration_time": _time(facts.not_after),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
