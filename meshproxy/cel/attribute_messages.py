"""The protobuf messages that attributes are: metadata, the node, a locality."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from envoy.config.core.v3 import base_pb2
from google.protobuf import json_format, text_format

from meshproxy.cel.values import MessageMap, StructMap, ValueMap
from meshproxy.matching import wire_text
from meshproxy.model.snapshot import Node

_Metadata = Mapping[str, Mapping[str, Any]] | None


_WHOLE = re.compile(r"(number_value: -?[0-9]+)\.0(?= )")


def _shown(message: Any) -> str:
    """The short text form as C++ prints it: a space at the end, whole numbers without a point."""
    text = text_format.MessageToString(message, as_one_line=True, as_utf8=False)
    return wire_text(_WHOLE.sub(r"\1", f"{text} ")) if text else ""


def metadata_message(metadata: _Metadata) -> MessageMap:
    """`envoy.config.core.v3.Metadata`."""
    fields = {"filter_metadata": StructMap(metadata or {}), "typed_filter_metadata": ValueMap({})}

    def show() -> str:
        message: Any = base_pb2.Metadata()
        json_format.ParseDict({"filter_metadata": metadata or {}}, message)
        return _shown(message)

    return MessageMap(fields, frozenset(("filter_metadata",) if metadata else ()), show)


def locality_message(locality: Any) -> MessageMap:
    """`envoy.config.core.v3.Locality`."""
    parts = {name: getattr(locality, name, "") or "" for name in ("region", "zone", "sub_zone")}
    message: Any = base_pb2.Locality(**parts)
    fields = {name: wire_text(value) for name, value in parts.items()}
    return MessageMap(fields, frozenset(name for name, value in parts.items() if value), lambda: _shown(message))


def node_message(node: Node) -> MessageMap:
    """`envoy.config.core.v3.Node`, what the configuration says of it."""
    fields: dict[str, Any] = {
        "id": wire_text(node.id),
        "cluster": wire_text(node.cluster),
        "metadata": StructMap(node.metadata),
        "locality": locality_message(node),
        "user_agent_name": "meshproxy",
    }
    present = {
        "id": bool(node.id),
        "cluster": bool(node.cluster),
        "metadata": bool(node.metadata),
        "locality": bool(node.region or node.zone or node.sub_zone),
        "user_agent_name": True,
    }

    def show() -> str:
        locality = {"region": node.region, "zone": node.zone, "sub_zone": node.sub_zone}
        message: Any = base_pb2.Node(id=node.id, cluster=node.cluster, user_agent_name="meshproxy")
        if present["locality"]:
            message.locality.CopyFrom(base_pb2.Locality(**locality))
        json_format.ParseDict(dict(node.metadata), message.metadata)
        return _shown(message)

    return MessageMap(fields, frozenset(name for name, is_set in present.items() if is_set), show)
