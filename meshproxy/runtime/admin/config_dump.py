"""`/config_dump`: the configuration in force, as the messages it was read from (envoy.admin.v3.ConfigDump).

The dump is assembled as plain data in the shape of the messages' JSON. Secrets are taken out first (see `redact`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from meshproxy.messages.by_name import message_class, name_of_type_url
from meshproxy.runtime.admin.clusters import address_json
from meshproxy.runtime.admin.discovered import Discovered, timestamp
from meshproxy.runtime.admin.field_masks import fits, parse_mask, trim
from meshproxy.runtime.admin.legible import legible
from meshproxy.runtime.admin.redact import redact
from meshproxy.runtime.upstream.cluster_status import Status

_TYPE = "type.googleapis.com/"
_ADMIN = f"{_TYPE}envoy.admin.v3."
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

# The dumps in Envoy's order and their fields; for a list: the kind of its entries and their field with the resource.
_DUMPS: dict[str, dict[str, tuple[str, str] | None]] = {
    "BootstrapConfigDump": {"bootstrap": None, "last_updated": None},
    "ClustersConfigDump": {
        "version_info": None,
        "static_clusters": ("StaticCluster", "cluster"),
        "dynamic_active_clusters": ("DynamicCluster", "cluster"),
        "dynamic_warming_clusters": ("DynamicCluster", "cluster"),
    },
    "EcdsConfigDump": {"ecds_filters": ("EcdsFilterConfig", "ecds_filter")},
    "EndpointsConfigDump": {
        "static_endpoint_configs": ("StaticEndpointConfig", "endpoint_config"),
        "dynamic_endpoint_configs": ("DynamicEndpointConfig", "endpoint_config"),
    },
    "ListenersConfigDump": {
        "version_info": None,
        "static_listeners": ("StaticListener", "listener"),
        "dynamic_listeners": ("DynamicListener", "listener"),
    },
    "ScopedRoutesConfigDump": {
        "inline_scoped_route_configs": ("InlineScopedRouteConfigs", "scoped_route_configs"),
        "dynamic_scoped_route_configs": ("DynamicScopedRouteConfigs", "scoped_route_configs"),
    },
    "RoutesConfigDump": {
        "static_route_configs": ("StaticRouteConfig", "route_config"),
        "dynamic_route_configs": ("DynamicRouteConfig", "route_config"),
    },
    "SecretsConfigDump": {
        "static_secrets": ("StaticSecret", "secret"),
        "dynamic_active_secrets": ("DynamicSecret", "secret"),
        "dynamic_warming_secrets": ("DynamicSecret", "secret"),
    },
}

_ENTRY_FIELDS = frozenset(("last_updated", "version_info", "error_state", "client_status", "name"))


class BadRequest(Exception):
    """The query makes no sense; the text is the answer, `status` its status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ConfigDump:
    """One dump. loaded: when the configuration was loaded, wall clock in seconds. clusters: with `include_eds`.

    discovered: what is in force beside, or in place of, what the bootstrap says.
    """

    def __init__(
        self,
        bootstrap: Message,
        loaded: float,
        clusters: list[Status] | None = None,
        discovered: Discovered | None = None,
    ) -> None:
        self._bootstrap: Any = bootstrap
        self._redacted = False
        self._updated = timestamp(loaded)
        self._clusters = clusters
        self._discovered = discovered

    def select(self, resource: str, mask: str, wanted: Callable[[str], bool]) -> dict[str, Any]:
        """What `?resource=&mask=&name_regex=` asks for. Raises BadRequest.

        May run in a thread: everything was copied, or is never changed.
        """
        if not self._redacted:
            self._bootstrap = _copy(self._bootstrap)
            redact(self._bootstrap)
            self._redacted = True
        paths = parse_mask(mask)
        shown = self._resource(resource, wanted) if resource else self._all(wanted)
        if paths:
            fitting = [entry for entry in shown if fits(entry, paths)]
            if resource and len(fitting) < len(shown):
                raise BadRequest(400, f"FieldMask {mask} could not be successfully used.")
            if not resource and not fitting:
                raise BadRequest(400, f"FieldMask {mask} could not be successfully applied to any configs.")
            shown = [trim(entry, paths) for entry in fitting]
        return {"configs": shown} if shown else {}

    def _all(self, wanted: Callable[[str], bool]) -> list[dict[str, Any]]:
        shown = []
        for name, fields in _DUMPS.items():
            if name == "EndpointsConfigDump" and self._clusters is None:
                continue
            dump: dict[str, Any] = {"@type": _ADMIN + name}
            if name == "BootstrapConfigDump":
                dump.update(bootstrap=_json(self._bootstrap), last_updated=self._updated)
            version = self._discovered.version(name) if self._discovered is not None else ""
            if version:
                dump["version_info"] = version
            for field in fields:
                entries = self._entries(field, wanted)
                if entries:
                    dump[field] = entries
            if name != "EcdsConfigDump" or len(dump) > 1:  # Envoy has it when a filter is discovered
                shown.append(dump)
        return shown

    def _resource(self, resource: str, wanted: Callable[[str], bool]) -> list[dict[str, Any]]:
        for name, fields in _DUMPS.items():
            if resource not in fields or (name == "EndpointsConfigDump" and self._clusters is None):
                continue
            kind = fields[resource]
            if kind is None:
                text = f"{resource} is not a repeated field. Use ?mask={resource} to get only this field"
                raise BadRequest(400, text)
            return [{"@type": f"{_ADMIN}{name}.{kind[0]}", **entry} for entry in self._entries(resource, wanted)]
        raise BadRequest(404, f"{resource} not found in config dump")

    def _entries(self, field: str, wanted: Callable[[str], bool]) -> list[dict[str, Any]]:
        discovered = self._discovered
        if discovered is not None and field in discovered.fields:
            return discovered.fields[field](wanted)
        static = self._bootstrap.static_resources
        if field == "static_clusters":
            return self._wrap("cluster", (c for c in static.clusters if wanted(c.name)))
        if field == "static_listeners":
            return self._wrap("listener", (listener for listener in static.listeners if wanted(listener.name)))
        if field == "static_route_configs":
            if discovered is None:
                return self._wrap("route_config", (r for r in _route_configs(static.listeners) if wanted(r.name)))
            return [
                {"route_config": legible(routes), "last_updated": updated}
                for listener, updated in discovered.listeners()
                for routes in _route_configs((listener,))
                if wanted(routes.name)
            ]
        if field == "static_secrets":
            return [
                {"name": secret.name, "secret": _typed_json(secret)} for secret in static.secrets if wanted(secret.name)
            ]
        if field in ("static_endpoint_configs", "dynamic_endpoint_configs") and self._clusters is not None:
            dynamic = field == "dynamic_endpoint_configs"
            return [
                {"endpoint_config": _assignment(status)}
                for status in self._clusters
                if wanted(status["name"])
                and (discovered is not None and discovered.is_dynamic(status["name"])) == dynamic
            ]
        return []

    def _wrap(self, name: str, messages: Iterable[Message]) -> list[dict[str, Any]]:
        return [{name: legible(message), "last_updated": self._updated} for message in messages]


def _copy(bootstrap: Any) -> Any:
    """A copy, made resource by resource: a copy in one go may take long, and it is made beside traffic."""
    copy = type(bootstrap)()
    for field, value in bootstrap.ListFields():
        if field.name == "static_resources":
            for inner, resources in value.ListFields():
                into = getattr(copy.static_resources, inner.name)
                for resource in resources:
                    into.add().CopyFrom(resource)
        elif field.is_repeated:
            getattr(copy, field.name).MergeFrom(value)
        elif field.message_type is not None:
            getattr(copy, field.name).CopyFrom(value)
        else:
            setattr(copy, field.name, value)
    return copy


def _json(message: Message) -> dict[str, Any]:
    shown: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return shown


def _typed_json(message: Message) -> dict[str, Any]:
    return {"@type": _TYPE + message.DESCRIPTOR.full_name, **_json(message)}


def _route_configs(listeners: Iterable[Any]) -> Iterable[Any]:
    """The route tables that stand in connection managers."""
    for listener in listeners:
        chains = [*listener.filter_chains]
        if listener.HasField("default_filter_chain"):
            chains.append(listener.default_filter_chain)
        for chain in chains:
            for network_filter in chain.filters:
                config = network_filter.typed_config
                if name_of_type_url(config.type_url) != _HCM:
                    continue
                message_type = message_class(_HCM)
                assert message_type is not None  # it was read with the bootstrap
                manager: Any = message_type()
                manager.ParseFromString(config.value)
                if manager.HasField("route_config"):
                    yield manager.route_config


def _assignment(status: Status) -> dict[str, Any]:
    """The hosts of a cluster as an envoy.config.endpoint.v3.ClusterLoadAssignment."""
    groups: dict[tuple[str, str, str, int, int], list[Any]] = {}
    for host in status["hosts"]:
        endpoint: dict[str, Any] = {
            "address": address_json(host["address"], host["path"]),
            "health_check_config": {"port_value": host["health_check_port"]} if host["health_check_port"] else {},
        }
        if host["hostname"]:
            endpoint["hostname"] = host["hostname"]
        key = host["region"], host["zone"], host["sub_zone"], host["priority"], host["locality_weight"]
        shown = {"endpoint": endpoint, "health_status": host["health"]}
        if host["metadata"]:
            shown["metadata"] = {"filter_metadata": host["metadata"]}
        groups.setdefault(key, []).append({**shown, "load_balancing_weight": host["weight"]})
    endpoints = []
    for (region, zone, sub_zone, priority, weight), hosts in groups.items():
        locality = {"region": region, "zone": zone, "sub_zone": sub_zone}
        entry: dict[str, Any] = {
            "locality": {name: value for name, value in locality.items() if value},
            "lb_endpoints": hosts,
            "load_balancing_weight": weight,
        }
        if priority:
            entry["priority"] = priority
        endpoints.append(entry)
    return {
        "@type": f"{_TYPE}envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": status["service_name"] or status["name"],
        **({"endpoints": endpoints} if endpoints else {}),
        "policy": {"overprovisioning_factor": status["overprovisioning_factor"]},
    }
