"""What istiod sends to a sidecar, made of tests/data/istio/sidecar.yaml: serialized resources by type and name."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

import yaml
from google.protobuf.json_format import ParseDict

from meshproxy.agent.istio_messages import NAME_TABLE_TYPE
from meshproxy.messages.by_name import message_class, name_of_type_url
from tests.system.istiod import table

_FILE = Path(__file__).parent.parent / "data" / "istio" / "sidecar.yaml"
_PREFIX = "type.googleapis.com/"
CLUSTERS = f"{_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
ROUTES = f"{_PREFIX}envoy.config.route.v3.RouteConfiguration"
LISTENERS = f"{_PREFIX}envoy.config.listener.v3.Listener"
EXTENSIONS = f"{_PREFIX}envoy.config.core.v3.TypedExtensionConfig"
_PARTS = {
    "clusters": CLUSTERS,
    "endpoints": ENDPOINTS,
    "routes": ROUTES,
    "listeners": LISTENERS,
    "extensions": EXTENSIONS,
}


def read_world(**filled_in: object) -> Any:
    """The file, with its `${...}` filled in."""
    return yaml.load(Template(_FILE.read_text()).substitute(filled_in), Loader=yaml.CSafeLoader)


def make_world(tree: Any, address: str = "10.0.0.7") -> dict[str, dict[str, bytes]]:
    """The resources of what `read_world` has read, and a table of names. address: of the service."""
    world = {NAME_TABLE_TYPE: {"": table(web_shop_svc_cluster_local=[address])}}
    for part, type_url in _PARTS.items():
        entries = tree[part]
        world[type_url] = {entry.get("name") or entry["cluster_name"]: serialize(type_url, entry) for entry in entries}
    return world


def serialize(type_url: str, tree: Any) -> bytes:
    """One resource of its JSON form."""
    _load_types(tree)
    found = message_class(name_of_type_url(type_url))
    assert found is not None
    return ParseDict(tree, found()).SerializeToString(deterministic=True)


def _load_types(tree: Any) -> None:
    """Make the messages known that stand in an Any somewhere in a tree."""
    if isinstance(tree, dict):
        if "@type" in tree:
            assert message_class(name_of_type_url(tree["@type"])) is not None, tree["@type"]
        for value in tree.values():
            _load_types(value)
    elif isinstance(tree, list):
        for value in tree:
            _load_types(value)
