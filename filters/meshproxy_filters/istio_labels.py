"""The labels of Istio's standard metrics: who called whom, told from one end (istio.io: "Istio Standard Metrics").

A sidecar knows itself from its node's metadata. Of the other end it knows what the certificates say, and as a client
also what the control plane wrote into the metadata of the cluster (`istio`: `services`) and of the endpoint (`istio`:
`workload`, "workload;namespace;service;revision;cluster"). What isn't known is "unknown".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshproxy.model.snapshot import Node
from meshproxy.plugin.stream_info import StreamInfo, TlsInfo
from meshproxy.records import dataclass

UNKNOWN = "unknown"
_LATEST = "latest"
_BARE_CLUSTERS = frozenset(
    {
        "BlackHoleCluster",
        "PassthroughCluster",
        "InboundPassthroughCluster",
        "InboundPassthroughClusterIpv4",
        "InboundPassthroughClusterIpv6",
    }
)
_BARE_ROUTES = {"block_all": "BlackHoleCluster", "allow_any": "PassthroughCluster"}

Labels = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Workload:
    """One end. Empty texts for what isn't known."""

    name: str = ""
    namespace: str = ""
    service: str = ""
    revision: str = ""
    cluster: str = ""
    app: str = ""
    version: str = ""

    @classmethod
    def of_node(cls, node: Node) -> Workload:
        """This proxy's own."""
        metadata = node.metadata
        labels = metadata.get("LABELS")
        labels = labels if isinstance(labels, Mapping) else {}
        return cls(
            name=_text(metadata, "WORKLOAD_NAME"),
            namespace=_text(metadata, "NAMESPACE"),
            service=_text(labels, "service.istio.io/canonical-name"),
            revision=_text(labels, "service.istio.io/canonical-revision"),
            cluster=_text(metadata, "CLUSTER_ID"),
            app=_text(labels, "app"),
            version=_text(labels, "version"),
        )

    @classmethod
    def of_endpoint(cls, info: StreamInfo) -> Workload:
        """The other end, as the control plane described the endpoint."""
        istio = (info.upstream_host_metadata or {}).get("istio")
        parts = _text(istio, "workload").split(";") if isinstance(istio, Mapping) else []
        return cls(*parts[:5]) if len(parts) >= 5 else cls()


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def namespace_of(principal: str) -> str:
    """The namespace in a SPIFFE id: `.../ns/<namespace>/sa/...`."""
    return principal.partition("/ns/")[2].partition("/")[0]


def _principals(tls: TlsInfo | None) -> tuple[str, str]:
    """(the peer's first URI name, our own)."""
    if tls is None:
        return "", ""
    return (
        tls.peer_uri_sans[0] if tls.peer_uri_sans else "",
        tls.local_uri_sans[0] if tls.local_uri_sans else "",
    )


def service_of(info: StreamInfo, host_fallback: bool) -> tuple[str, str]:
    """(destination_service, destination_service_name); "" for what isn't known."""
    host = info.request.authority if host_fallback and info.request is not None else ""
    bare = _BARE_ROUTES.get(info.route_name) or (
        info.upstream_cluster if info.upstream_cluster in _BARE_CLUSTERS else ""
    )
    if bare:
        return host, bare
    istio = (info.upstream_cluster_metadata or {}).get("istio")
    services = istio.get("services") if isinstance(istio, Mapping) else None
    if not isinstance(services, list) or not services or not isinstance(services[0], Mapping):
        return host, host
    host = _text(services[0], "host") or host
    return host, _text(services[0], "name") or host.partition(".")[0]


def labels_of_client(info: StreamInfo, own: Workload, host_fallback: bool) -> Labels:
    """As the caller tells it."""
    peer = Workload.of_endpoint(info)
    principal, own_principal = _principals(info.upstream_tls)
    namespace = namespace_of(principal) or peer.namespace or UNKNOWN
    service, service_name = service_of(info, host_fallback)
    return [
        ("reporter", "source"),
        ("source_workload", own.name),
        ("source_canonical_service", own.service),
        ("source_canonical_revision", own.revision),
        ("source_workload_namespace", own.namespace),
        ("source_principal", own_principal or UNKNOWN),
        ("source_app", own.app),
        ("source_version", own.version),
        ("source_cluster", own.cluster),
        ("destination_workload", peer.name or UNKNOWN),
        ("destination_workload_namespace", namespace),
        ("destination_principal", principal or UNKNOWN),
        ("destination_app", peer.app or UNKNOWN),
        ("destination_version", peer.version or UNKNOWN),
        ("destination_service", service or UNKNOWN),
        ("destination_canonical_service", peer.service or UNKNOWN),
        ("destination_canonical_revision", peer.revision or _LATEST),
        ("destination_service_name", service_name or UNKNOWN),
        ("destination_service_namespace", namespace),
        ("destination_cluster", peer.cluster or UNKNOWN),
    ]


def labels_of_server(info: StreamInfo, own: Workload, host_fallback: bool) -> Labels:
    """As the called one tells it."""
    principal, own_principal = _principals(info.connection.tls)
    service, service_name = service_of(info, host_fallback)
    return [
        ("reporter", "destination"),
        ("source_workload", UNKNOWN),
        ("source_canonical_service", UNKNOWN),
        ("source_canonical_revision", _LATEST),
        ("source_workload_namespace", namespace_of(principal) or UNKNOWN),
        ("source_principal", principal or UNKNOWN),
        ("source_app", UNKNOWN),
        ("source_version", UNKNOWN),
        ("source_cluster", UNKNOWN),
        ("destination_workload", own.name),
        ("destination_workload_namespace", own.namespace),
        ("destination_principal", own_principal or UNKNOWN),
        ("destination_app", own.app),
        ("destination_version", own.version),
        ("destination_service", service or own.service),
        ("destination_canonical_service", own.service),
        ("destination_canonical_revision", own.revision),
        ("destination_service_name", service_name or own.service),
        ("destination_service_namespace", own.namespace),
        ("destination_cluster", own.cluster),
    ]


def security_policy(info: StreamInfo, server: bool) -> str:
    """What only the called one can tell: whether both ends have shown who they are."""
    if not server:
        return UNKNOWN
    return "mutual_tls" if all(_principals(info.connection.tls)) else "none"
