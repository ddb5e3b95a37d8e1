"""Places of a parsed configuration of the benchmark, and what shapes put into them."""

from __future__ import annotations

import json
from typing import Any

Config = dict[str, Any]

_HTTP = "type.googleapis.com/envoy.extensions.filters.http."


def manager(config: Config) -> Config:
    found: Config = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def routes(config: Config) -> list[Config]:
    found: list[Config] = manager(config)["route_config"]["virtual_hosts"][0]["routes"]
    return found


def add_filter(config: Config, message: str, **fields: Any) -> None:
    entry = {"name": message.partition(".")[0], "typed_config": {"@type": _HTTP + message, **fields}}
    manager(config)["http_filters"].insert(0, entry)


def add_cluster(config: Config, name: str, port: str, *, http2: bool = False) -> None:
    cluster = json.loads(json.dumps(config["static_resources"]["clusters"][0]))
    cluster["name"] = cluster["load_assignment"]["cluster_name"] = name
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": [endpoint(port)]}]
    if http2:
        kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        options = {"@type": f"type.googleapis.com/{kind}", "explicit_http_config": {"http2_protocol_options": {}}}
        cluster["typed_extension_protocol_options"] = {kind: options}
    config["static_resources"]["clusters"].append(cluster)


def endpoint(port: str, address: str = "127.0.0.1") -> Config:
    return {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}
