"""What packages that may not import each other must agree on, held together by value."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.listener import ListenerFilter
from meshproxy.plugin.network import NetworkFilter
from meshproxy_iptables.options import Options

ROOT = Path(__file__).resolve().parents[2]
RULES = Options()


def bind_addresses(path: Path) -> set[str]:
    """Every `upstream_bind_config` address of a configuration template."""
    return set(re.findall(r"source_address: \{address: ([0-9a-f.:]+)", path.read_text()))


@pytest.mark.parametrize("name", ["web.yaml", "shop.yaml"])
def test_inbound_connections_come_from_the_address_that_the_rules_let_pass(name: str) -> None:
    assert bind_addresses(ROOT / "examples/demo" / name) == {"127.0.0.6"}


def test_the_demo_listens_where_the_rules_send_traffic() -> None:
    source = (ROOT / "examples/demo/pods.py").read_text()
    for side, port in (("OUTBOUND", RULES.proxy_port), ("INBOUND", RULES.inbound_capture_port)):
        found = set(re.findall(rf'"(?:WEB|SHOP)_{side}_PORT": (\d+)', source))
        assert found == {str(port)}


def test_the_image_runs_as_the_user_that_the_rules_let_pass() -> None:
    users = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users == [(RULES.proxy_uids[0], RULES.proxy_gids[0])]


def test_the_pod_example_runs_the_sidecar_as_that_user() -> None:
    documents = [
        document
        for path in sorted((ROOT / "examples/kubernetes").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document and document.get("kind") == "Pod"
    ]
    assert documents
    for pod in documents:
        containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]
        sidecars = [c for c in containers if "-c" in c.get("args", []) or "-c" in c.get("command", [])]
        assert sidecars, pod["metadata"]
        for sidecar in sidecars:
            context = {**pod["spec"].get("securityContext", {}), **sidecar.get("securityContext", {})}
            assert str(context.get("runAsUser")) in RULES.proxy_uids


def test_every_declared_filter_can_be_loaded_and_is_one() -> None:
    declared = [
        entry for entry in entry_points(group="meshproxy.filters") if entry.dist and entry.dist.name == "meshproxy"
    ]
    assert len(declared) > 10
    for entry in declared:
        assert issubclass(entry.load(), (HttpFilter, NetworkFilter, ListenerFilter)), entry.name
