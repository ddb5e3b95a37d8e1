"""The snippets of `cases.yaml`, each put into a bootstrap that is otherwise in order."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

_T = "type.googleapis.com"
_EXT = f"{_T}/envoy.extensions"
_TCP = f'"@type": {_EXT}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c'
_ROUTER = f'{{name: r, typed_config: {{"@type": {_EXT}.filters.http.router.v3.Router}}}}'
_WORDS = {
    "$ROUTER": _ROUTER,
    "$FAULT": f'{{name: f, typed_config: {{"@type": {_EXT}.filters.http.fault.v3.HTTPFault}}}}',
    "$TCP": f"{{name: t, typed_config: {{{_TCP}}}}}",
    "$FILE_LOG": f'"@type": {_EXT}.access_loggers.file.v3.FileAccessLog, path: /dev/null',
    "$EXT": _EXT,
    "$T/": f"{_T}/",
    "$X4097": "x" * 4097,
    "$X5000": "x" * 5000,
}

_BOOTSTRAP = """
node: {id: n1, cluster: c1}
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 10001}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: s
$HCM
$LISTENER
  clusters:
  - name: c
    load_assignment:
      cluster_name: c
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9}}}}]}]
$CLUSTERS
$BOOTSTRAP
"""
_INTERNAL = f"""
bootstrap_extensions:
- {{name: i, typed_config: {{"@type": {_EXT}.bootstrap.internal_listener.v3.InternalListener, buffer_size_kb: 64}}}}
"""
_HCM = f"""\
http_filters: [{_ROUTER}]
route_config:
  name: rc
  virtual_hosts: [{{name: v, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: c}}}}]}}]
"""
# Where a snippet goes: the place around it, and what stands there with it. $HERE is replaced with its own indentation.
_AROUND = {
    "match": ("route", "match: {$HERE}\nroute: {cluster: c}"),
    "action": ("route", "match: {prefix: /p}\nroute: {$HERE}"),
    "route": ("host", "routes:\n- name: r\n  $HERE"),
    "host": ("table", "virtual_hosts:\n- name: v\n  domains: ['*']\n  $HERE"),
    "table": ("$HCM", f"http_filters: [{_ROUTER}]\nroute_config:\n  $HERE"),
    "filters": ("$HCM", "route_config: {}\nhttp_filters:\n$HERE"),
    "log": ("hcm", "access_log:\n- name: a\n  $HERE"),
    "hcm": ("$HCM", f"{_HCM}$HERE"),
    "listener": ("$LISTENER", "  $HERE"),
    "chains": ("$LISTENER", "- name: m\n  $HERE"),
    "internal": ("chains", "internal_listener: {}\n$HERE"),
    "cluster": ("$CLUSTERS", "- name: d\n  $HERE"),
    "static": ("$CLUSTERS", "- {name: d, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [$HERE]}]}}"),
    "bootstrap": ("$BOOTSTRAP", "$HERE"),
    "discovery": ("$BOOTSTRAP", "dynamic_resources:\n  $HERE"),
}
_DEPTHS = {"$HCM": 10, "$LISTENER": 2, "$CLUSTERS": 2, "$BOOTSTRAP": 0}


def bootstrap(place: str, text: str) -> str:
    """The whole bootstrap around a snippet."""
    extension = _INTERNAL if place == "internal" else ""
    while place not in _DEPTHS:
        place, around = _AROUND[place]
        line = next(line for line in around.splitlines() if "$HERE" in line)
        indentation = " " * (len(line) - len(line.lstrip()))
        text = around.replace("$HERE", text.strip("\n").replace("\n", f"\n{indentation}"))
    filled = {slot: _HCM if slot == "$HCM" else "" for slot in _DEPTHS} | {place: text}
    result = _BOOTSTRAP
    for slot, value in filled.items():
        result = result.replace(f"{slot}\n", textwrap.indent(value.strip("\n"), " " * _DEPTHS[slot]) + "\n")
    return result + extension


@dataclass(frozen=True)
class Case:
    """verdict: accepted, refused or unsupported. says: a part of our message."""

    verdict: str
    place: str
    text: str
    says: str = ""

    @property
    def id(self) -> str:
        return f"{self.place}: {' '.join(self.text.split())[:70]}"

    @property
    def bootstrap(self) -> str:
        return bootstrap(self.place, self.text)


def fill(text: str) -> str:
    """A snippet with its words after a dollar sign filled in."""
    for word, value in _WORDS.items():
        text = text.replace(word, value)
    return text


def _cases() -> Iterator[Case]:
    for group in yaml.safe_load(Path(__file__).with_name("cases.yaml").read_text()):
        for snippet in group["snippets"]:
            yield Case(group["verdict"], group["place"], fill(snippet["text"]), snippet.get("says", ""))


CASES = tuple(_cases())
