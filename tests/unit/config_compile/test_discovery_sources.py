"""What of discovery is refused, by its name and place, and what may be said of filters that are discovered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config_compile.compiling import problems_of

_FILTERS = "type.googleapis.com/envoy.extensions.filters"
_HCM = f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = f"{_FILTERS}.http.router.v3.Router"
_FAULT = f"{_FILTERS}.http.fault.v3.HTTPFault"
_LAST = f"{{name: router, typed_config: {{'@type': {_ROUTER}}}}}"
_ROUTES = "route_config: {name: r, virtual_hosts: []}"


def _with_manager(routes: str, filters: str = _LAST) -> str:
    return f"""
static_resources:
  listeners:
  - name: a
    address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}
    filter_chains:
    - filters:
      - name: h
        typed_config: {{'@type': {_HCM}, stat_prefix: a, {routes}, http_filters: [{filters}]}}
"""


_ADS = "{ads: {}}"
_SCOPES = "{fragments: [{header_value_extractor: {name: a, index: 0}}]}"
_REFUSED = {
    "dynamic_resources: {cds_resources_locator: 'xdstp://a/b.Cluster/x'}": "cds_resources_locator",
    "dynamic_resources: {ads_config: {api_type: GRPC, transport_api_version: V2, "
    "grpc_services: [{envoy_grpc: {cluster_name: a}}]}}": "V3",
    "layered_runtime: {layers: [{name: r, rtds_layer: {name: x, rtds_config: {ads: {}}}}]}": "rtds_layer",
    _with_manager(
        f"scoped_routes: {{name: x, scope_key_builder: {_SCOPES}, rds_config_source: {_ADS}, "
        f"scoped_rds: {{scoped_rds_config_source: {_ADS}}}}}"
    ): "scoped_routes",
    _with_manager(f"route_config: {{name: r, vhds: {{config_source: {_ADS}}}}}"): "vhds",
}


@pytest.mark.parametrize(("config", "says"), _REFUSED.items(), ids=list(_REFUSED.values()))
def test_refused_by_name(config: str, says: str) -> None:
    found = problems_of(f"node: {{id: a, cluster: b}}\n{config}")
    assert [problem for problem in found if says in problem and "envoy.yaml:" in problem], found


def _discovered(path: Path, more: str, types: str = _FAULT) -> str:
    source = f"config_source: {{path_config_source: {{path: {path}}}}}"
    place = f"{{name: x, config_discovery: {{{source}, type_urls: [{types}], {more}}}}}"
    return _with_manager(_ROUTES, f"{place}, {_LAST}")


@pytest.mark.parametrize(
    ("more", "types", "says"),
    [
        ("", _FAULT, ""),
        (f"default_config: {{'@type': {_FAULT}}}, apply_default_config_without_warming: true", _FAULT, ""),
        ("apply_default_config_without_warming: true", _FAULT, "applied without warming but has no default config"),
        (f"default_config: {{'@type': {_ROUTER}}}", _FAULT, "Error: filter config has type URL"),
        (f"default_config: {{'@type': {_ROUTER}}}", _ROUTER, "must be the last filter in a HTTP filter chain"),
        ("", "type.googleapis.com/nothing.Here", "no factory found for a required type URL nothing.Here"),
        (f"default_config: {{'@type': {_FAULT}, abort: {{}}}}", _FAULT, "required"),
    ],
)
def test_filter_that_is_discovered(tmp_path: Path, more: str, types: str, says: str) -> None:
    path = tmp_path / "ecds.yaml"
    path.touch()
    found = problems_of(_discovered(path, more, types))
    assert (found == []) if not says else any(says in problem for problem in found), found
