"""Where resources come from that aren't in the bootstrap (envoy.config.core.v3.ConfigSource), and one such resource."""

from __future__ import annotations

from typing import Any

from meshproxy.records import dataclass

TYPE_PREFIX = "type.googleapis.com/"
CLUSTER = f"{TYPE_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINTS = f"{TYPE_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{TYPE_PREFIX}envoy.config.listener.v3.Listener"
ROUTES = f"{TYPE_PREFIX}envoy.config.route.v3.RouteConfiguration"
SECRET = f"{TYPE_PREFIX}envoy.extensions.transport_sockets.tls.v3.Secret"
EXTENSION = f"{TYPE_PREFIX}envoy.config.core.v3.TypedExtensionConfig"
RUNTIME = f"{TYPE_PREFIX}envoy.service.runtime.v3.Runtime"


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """One source. Equal ones share their connection or file.

    kind: "path", "ads" (the bootstrap's `ads_config`) or "api" (`api_config_source`, then `api` says which).
    initial_fetch_timeout: seconds after which a resource that hasn't come counts as absent; 0: never.
    """

    kind: str
    path: str = ""
    watched_directory: str = ""
    api: Any = None
    initial_fetch_timeout: float = 15.0


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One resource as its source gave it.

    name: of the message (or of the wrapper that it came in). version: its own for incremental discovery, else that of
    the response. message: unpacked. place: where it stands in a file. ttl: seconds, handled by the source.
    checked: that its values keep the API's rules is known already. compiled: what it means, if that is known already.
    """

    name: str
    version: str
    message: Any
    place: Any = None
    ttl: float | None = None
    checked: bool = False
    compiled: Any = None


@dataclass(frozen=True, slots=True)
class EndpointDiscovery:
    """`eds_cluster_config`: the assignment `name` of `source`."""

    source: ConfigSource
    name: str
