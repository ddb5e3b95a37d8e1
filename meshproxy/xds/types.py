"""The types of resources a management server can send, and where each is asked for.

One place for what the API says of a type: which field holds a resource's name, which gRPC service and which REST path
serve it alone, and whether a response of the state-of-the-world protocol is the full list of what there is (xDS
protocol, "How the client specifies what resources to return").
"""

from __future__ import annotations

from typing import Final

from meshproxy.model.discovery import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, RUNTIME, SECRET
from meshproxy.records import dataclass

DISCOVERY: Final = "envoy.service.discovery.v3."
WILDCARD: Final = "*"


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One type of resource.

    type_url: `type.googleapis.com/` and the full name of the message.
    label: its short name (`cds`), as operators say it. name_field: of the message, which holds the resource's name.
    full_state: whether a state-of-the-world response lists all there is, so that what it lacks is gone.
    service, stream, delta: the gRPC service for this type alone and its two methods. rest: the path to POST to.
    """

    type_url: str
    label: str
    name_field: str
    full_state: bool
    service: str
    stream: str
    delta: str
    rest: str


def _type(type_url: str, label: str, service: str, methods: str, rest: str, **more: object) -> ResourceType:
    fields: dict[str, object] = {"name_field": "name", "full_state": False, **more}
    return ResourceType(
        type_url=type_url,
        label=label,
        service=f"envoy.service.{service}",
        stream=f"Stream{methods}",
        delta=f"Delta{methods}",
        rest=f"/v3/discovery:{rest}",
        **fields,  # type: ignore[arg-type]  # the two above, of these types
    )


RESOURCE_TYPES: Final[dict[str, ResourceType]] = {
    kind.type_url: kind
    for kind in (
        _type(CLUSTER, "cds", "cluster.v3.ClusterDiscoveryService", "Clusters", "clusters", full_state=True),
        _type(
            ENDPOINTS,
            "eds",
            "endpoint.v3.EndpointDiscoveryService",
            "Endpoints",
            "endpoints",
            name_field="cluster_name",
        ),
        _type(LISTENER, "lds", "listener.v3.ListenerDiscoveryService", "Listeners", "listeners", full_state=True),
        _type(ROUTES, "rds", "route.v3.RouteDiscoveryService", "Routes", "routes"),
        _type(SECRET, "sds", "secret.v3.SecretDiscoveryService", "Secrets", "secrets"),
        _type(RUNTIME, "rtds", "runtime.v3.RuntimeDiscoveryService", "Runtime", "runtime"),
        _type(
            EXTENSION,
            "ecds",
            "extension.v3.ExtensionConfigDiscoveryService",
            "ExtensionConfigs",
            "extension_configs",
        ),
    )
}
ADS_SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
ADS_STREAM: Final = "StreamAggregatedResources"
ADS_DELTA: Final = "DeltaAggregatedResources"

# What isn't asked for while a push of the type before the colon is applied: the push may itself change the names that
# are wanted of these, and one request for all of them is enough (Envoy's CdsApiHelper and LdsApiImpl).
DEPENDENTS: Final[dict[str, tuple[str, ...]]] = {
    CLUSTER: (ENDPOINTS, SECRET),
    LISTENER: (ROUTES, SECRET, EXTENSION),
}
