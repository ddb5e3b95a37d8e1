"""The labels of Istio's standard metrics: who called whom, told from one end (istio.io: "Istio Standard Metrics").

A sidecar knows itself from its node's metadata. Of the other end it knows what its certificate says and what it has
told of itself (`peer_metadata`, `metadata_exchange`), and as a client also what the control plane wrote into the
metadata of the cluster (`istio`: `services`) and of the endpoint (`istio`: `workload`). What isn't known is "unknown".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
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


def _told(workload: Workload, namespace: str, revision: str = _LATEST) -> Workload:
    """Another end's workload with words for what isn't known of it."""
    return replace(
        workload,
        workload=workload.workload or UNKNOWN,
        namespace=namespace or UNKNOWN,
        service=workload.service or UNKNOWN,
        revision=workload.revision or revision,
        cluster=workload.cluster or UNKNOWN,
        app=workload.app or UNKNOWN,
        version=workload.version or UNKNOWN,
    )


def _labels(reporter: str, source: Workload, destination: Workload, principals: tuple[str, str], to: Service) -> Labels:
    """principals: of source and destination. to: what was called, by the names that are told of it."""
    return [
        ("reporter", reporter),
        ("source_workload", source.workload),
        ("source_canonical_service", source.service),
        ("source_canonical_revision", source.revision),
        ("source_workload_namespace", source.namespace),
        ("source_principal", principals[0] or UNKNOWN),
        ("source_app", source.app),
        ("source_version", source.version),
        ("source_cluster", source.cluster),
        ("destination_workload", destination.workload),
        ("destination_workload_namespace", destination.namespace),
        ("destination_principal", principals[1] or UNKNOWN),
        ("destination_app", destination.app),
        ("destination_version", destination.version),
        ("destination_service", to.host),
        ("destination_canonical_service", destination.service),
        ("destination_canonical_revision", destination.revision),
        ("destination_service_name", to.name),
        ("destination_service_namespace", to.namespace),
        ("destination_cluster", destination.cluster),
    ]


def labels_of_client(facts: Facts, info: StreamInfo) -> Labels:
    """As the caller tells it."""
    service, principals = facts.service, facts.principals
    peer = facts.peer or of_endpoint(info) or _NOBODY
    called = _told(peer, namespace_of(principals[0]) or peer.namespace)
    to = Service(service.host or UNKNOWN, service.name or UNKNOWN, service.namespace or called.namespace)
    return _labels("source", facts.own, called, principals[::-1], to)


def labels_of_server(facts: Facts, info: StreamInfo) -> Labels:
    """As the called one tells it."""
    own, service = facts.own, facts.service
    to = Service(service.host or own.service, service.name or own.service, own.namespace)
    return _labels("destination", _told(facts.peer or _NOBODY, facts.peer_namespace), own, facts.principals, to)


def labels_of_waypoint(facts: Facts, info: StreamInfo) -> Labels:
    """As somebody in between tells it, who serves many workloads: the called one is whoever the host is."""
    service = facts.service
    caller = _told(facts.peer or _NOBODY, facts.peer_namespace)
    host = peer_in(info.filter_state, UPSTREAM_PEER) or _NOBODY
    to = Service(service.host or UNKNOWN, service.name or UNKNOWN, service.namespace or UNKNOWN)
    return _labels("waypoint", caller, _told(host, host.namespace, UNKNOWN), (facts.principals[0], ""), to)


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
