"""The labels of Istio's standard metrics: who called whom, told from one end (istio.io: "Istio Standard Metrics").

A sidecar knows itself from its node's metadata. Of the other end it knows what its certificate says and what it has
told of itself (`peer_metadata`, `metadata_exchange`), and as a client also what the control plane wrote into the
metadata of the cluster (`istio`: `services`) and of the endpoint (`istio`: `workload`). What isn't known is "unknown".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshproxy.plugin.stream_info import StreamInfo, TlsInfo
from meshproxy.plugin.workload import DOWNSTREAM_PEER, UPSTREAM_PEER, Workload, peer_in
from meshproxy.records import dataclass

UNKNOWN = "unknown"
_LATEST = "latest"
_PEER_PRINCIPAL, _OWN_PRINCIPAL = "io.istio.peer_principal", "io.istio.local_principal"
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
States = tuple[Mapping[str, object] | None, ...]


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def of_endpoint(info: StreamInfo) -> Workload | None:
    """The other end, as the control plane described the endpoint."""
    istio = (info.upstream_host_metadata or {}).get("istio")
    return Workload.of_endpoint(_text(istio, "workload")) if isinstance(istio, Mapping) else None


def namespace_of(principal: str) -> str:
    """The namespace in a SPIFFE id: `.../ns/<namespace>/sa/...`."""
    return principal.partition("/ns/")[2].partition("/")[0]


def _sans(tls: TlsInfo | None) -> tuple[str, str]:
    """(the peer's first URI name, our own)."""
    if tls is None:
        return "", ""
    return (
        tls.peer_uri_sans[0] if tls.peer_uri_sans else "",
        tls.local_uri_sans[0] if tls.local_uri_sans else "",
    )


def principals_of_client(info: StreamInfo) -> tuple[str, str]:
    """As a client: (the called one's, our own)."""
    return _sans(info.upstream_tls)


def principals_of_server(info: StreamInfo) -> tuple[str, str]:
    """As the called one: (the caller's, our own). A tunnel that the connection came by says whose it is."""
    for state in (info.filter_state, info.connection.filter_state):
        if state and (_PEER_PRINCIPAL in state or _OWN_PRINCIPAL in state):
            told = str(state.get(_PEER_PRINCIPAL, "")), str(state.get(_OWN_PRINCIPAL, ""))
            if any(told):
                return told
    return _sans(info.connection.tls)


@dataclass(frozen=True, slots=True)
class Service:
    """What was called: its host, its name and its namespace; "" for what isn't known."""

    host: str
    name: str
    namespace: str = ""


def service_of(info: StreamInfo, host_fallback: bool) -> Service:
    host = info.request.authority if host_fallback and info.request is not None else ""
    bare = _BARE_ROUTES.get(info.route_name) or (
        info.upstream_cluster if info.upstream_cluster in _BARE_CLUSTERS else ""
    )
    if bare:
        return Service(host, bare)
    istio = (info.upstream_cluster_metadata or {}).get("istio")
    services = istio.get("services") if isinstance(istio, Mapping) else None
    if not isinstance(services, list) or not services or not isinstance(services[0], Mapping):
        return Service(host, host)
    host = _text(services[0], "host") or host
    return Service(host, _text(services[0], "name") or host.partition(".")[0], _text(services[0], "namespace"))


@dataclass(frozen=True, slots=True)
class Facts:
    """What the labels of a stream follow from. principals: the other end's and our own."""

    own: Workload
    peer: Workload | None
    principals: tuple[str, str]
    service: Service

    @property
    def peer_namespace(self) -> str:
        return namespace_of(self.principals[0]) or (self.peer.namespace if self.peer is not None else "")


_NOBODY = Workload()


def labels_of_client(facts: Facts, info: StreamInfo) -> Labels:
    """As the caller tells it."""
    own, service = facts.own, facts.service
    peer = facts.peer or of_endpoint(info) or _NOBODY
    namespace = namespace_of(facts.principals[0]) or peer.namespace
    return [
        ("reporter", "source"),
        ("source_workload", own.workload),
        ("source_canonical_service", own.service),
        ("source_canonical_revision", own.revision),
        ("source_workload_namespace", own.namespace),
        ("source_principal", facts.principals[1] or UNKNOWN),
        ("source_app", own.app),
        ("source_version", own.version),
        ("source_cluster", own.cluster),
        ("destination_workload", peer.workload or UNKNOWN),
        ("destination_workload_namespace", namespace or UNKNOWN),
        ("destination_principal", facts.principals[0] or UNKNOWN),
        ("destination_app", peer.app or UNKNOWN),
        ("destination_version", peer.version or UNKNOWN),
        ("destination_service", service.host or UNKNOWN),
        ("destination_canonical_service", peer.service or UNKNOWN),
        ("destination_canonical_revision", peer.revision or _LATEST),
        ("destination_service_name", service.name or UNKNOWN),
        ("destination_service_namespace", service.namespace or namespace or UNKNOWN),
        ("destination_cluster", peer.cluster or UNKNOWN),
    ]


def _labels_of_source(facts: Facts, reporter: str) -> Labels:
    peer = facts.peer or _NOBODY
    return [
        ("reporter", reporter),
        ("source_workload", peer.workload or UNKNOWN),
        ("source_canonical_service", peer.service or UNKNOWN),
        ("source_canonical_revision", peer.revision or _LATEST),
        ("source_workload_namespace", facts.peer_namespace or UNKNOWN),
        ("source_principal", facts.principals[0] or UNKNOWN),
        ("source_app", peer.app or UNKNOWN),
        ("source_version", peer.version or UNKNOWN),
        ("source_cluster", peer.cluster or UNKNOWN),
    ]


def labels_of_server(facts: Facts, info: StreamInfo) -> Labels:
    """As the called one tells it."""
    own, service = facts.own, facts.service
    return [
        *_labels_of_source(facts, "destination"),
        ("destination_workload", own.workload),
        ("destination_workload_namespace", own.namespace),
        ("destination_principal", facts.principals[1] or UNKNOWN),
        ("destination_app", own.app),
        ("destination_version", own.version),
        ("destination_service", service.host or own.service),
        ("destination_canonical_service", own.service),
        ("destination_canonical_revision", own.revision),
        ("destination_service_name", service.name or own.service),
        ("destination_service_namespace", own.namespace),
        ("destination_cluster", own.cluster),
    ]


def labels_of_waypoint(facts: Facts, info: StreamInfo) -> Labels:
    """As somebody in between tells it, who serves many workloads: the called one is whoever the host is."""
    service = facts.service
    host = peer_in(info.filter_state, UPSTREAM_PEER) or _NOBODY
    return [
        *_labels_of_source(facts, "waypoint"),
        ("destination_workload", host.workload or UNKNOWN),
        ("destination_workload_namespace", host.namespace or UNKNOWN),
        ("destination_principal", UNKNOWN),
        ("destination_app", host.app or UNKNOWN),
        ("destination_version", host.version or UNKNOWN),
        ("destination_service", service.host or UNKNOWN),
        ("destination_canonical_service", host.service or UNKNOWN),
        ("destination_canonical_revision", host.revision or UNKNOWN),
        ("destination_service_name", service.name or UNKNOWN),
        ("destination_service_namespace", service.namespace or UNKNOWN),
        ("destination_cluster", host.cluster or UNKNOWN),
    ]


def _client_states(info: StreamInfo) -> States:
    return info.upstream_filter_state, info.filter_state


def _server_states(info: StreamInfo) -> States:
    return info.filter_state, info.connection.filter_state


def _host_of_client(info: StreamInfo) -> Workload | None:
    return peer_in(info.upstream_filter_state, UPSTREAM_PEER) or peer_in(info.filter_state, UPSTREAM_PEER)


def _client_of_server(info: StreamInfo) -> Workload | None:
    return peer_in(info.filter_state, DOWNSTREAM_PEER) or peer_in(info.connection.filter_state, DOWNSTREAM_PEER)


@dataclass(frozen=True, slots=True, eq=False)
class Role:
    """At which end we stand. find_peer: who is at the other, peer_key: what filter states call it. principals: its and
    our own."""

    peer_key: str
    states: Callable[[StreamInfo], States]
    find_peer: Callable[[StreamInfo], Workload | None]
    principals: Callable[[StreamInfo], tuple[str, str]]
    labels: Callable[[Facts, StreamInfo], Labels]
    tells_security: bool = True

    def security_policy(self, principals: tuple[str, str]) -> str:
        """What only the called one can tell: whether both ends have shown who they are."""
        if not self.tells_security:
            return UNKNOWN
        return "mutual_tls" if all(principals) else "none"


CLIENT = Role(
    UPSTREAM_PEER, _client_states, _host_of_client, principals_of_client, labels_of_client, tells_security=False
)
SERVER = Role(DOWNSTREAM_PEER, _server_states, _client_of_server, principals_of_server, labels_of_server)
WAYPOINT = Role(DOWNSTREAM_PEER, _server_states, _client_of_server, principals_of_server, labels_of_waypoint)

STANDARD_LABELS = frozenset(
    {name for name, _ in labels_of_server(Facts(_NOBODY, None, ("", ""), Service("", "")), StreamInfo())}
    | {"request_protocol", "response_flags", "connection_security_policy", "response_code", "grpc_response_status"}
)
