"""The Kubernetes examples: valid for the API server, as unprivileged as can be, and their flags exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshproxy_iptables import flags, settings
from meshproxy_iptables.settings import Surroundings

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate (the test extra)")

FOLDER = Path(__file__).parents[3] / "examples" / "kubernetes"
MANIFESTS = sorted(FOLDER.glob("*.yaml"))
VERSIONS = ("1.29", "1.34")
NEEDED = {
    "sidecar.yaml": {"NET_ADMIN"},
    "native-sidecar.yaml": {"NET_ADMIN", "SETUID", "SETGID"},
    "cni-validation.yaml": set(),
}


def load(path: Path) -> dict[str, Any]:
    pod: dict[str, Any] = yaml.safe_load(path.read_text())
    return pod


def containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from pod["spec"].get("initContainers", [])
    yield from pod["spec"]["containers"]


def interception(pod: dict[str, Any]) -> dict[str, Any]:
    found = [c for c in containers(pod) if c.get("command") == ["meshproxy-iptables"]]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_schema_of_kubernetes(path: Path, version: str) -> None:
    kubernetes_validate.validate(load(path), version, strict=True)


def test_the_schema_notices_a_wrong_field() -> None:
    pod = load(MANIFESTS[0])
    pod["spec"]["containers"][0]["securityContext"]["runAsUsr"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, VERSIONS[0], strict=True)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_no_container_has_more_than_it_needs(path: Path) -> None:
    for container in containers(load(path)):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context.get("privileged", False) is False
        assert context["capabilities"]["drop"] == ["ALL"]
        added = set(context["capabilities"].get("add", []))
        if container.get("command") == ["meshproxy-iptables"]:
            assert added == NEEDED[path.name]
            assert context["readOnlyRootFilesystem"] is True
        else:
            assert added == set()
            assert context["runAsNonRoot"] is True
        is_proxy = container.get("command") == ["meshproxy"]
        assert (context["runAsUser"] == 1337) == (is_proxy or container["name"] == "istio-validation")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_arguments_are_understood(path: Path) -> None:
    container = interception(load(path))
    _, values = flags.parse(container["args"], {})
    nowhere = Surroundings(has_ipv6=lambda _: False, resolvers=lambda: ((), ()), user_id=lambda _: None)
    options, how, warnings = settings.read(values, nowhere)
    assert options.inbound_all
    assert options.outbound_all
    assert options.inbound_ports_exclude == (15090, 15021, 15020)
    assert warnings == ()
    assert how.run_validation == (path.name != "sidecar.yaml")


def test_the_native_sidecar_starts_behind_the_rules_and_before_the_application() -> None:
    pod = load(FOLDER / "native-sidecar.yaml")
    init = pod["spec"]["initContainers"]
    assert [c["name"] for c in init] == ["meshproxy-init", "meshproxy"]
    assert "restartPolicy" not in init[0]
    assert init[1]["restartPolicy"] == "Always"
    assert "startupProbe" in init[1]


def test_the_table_of_annotations_names_flags_that_exist() -> None:
    rows = re.findall(r"^\| `(\S*istio\.io/\S+)`[^|]*\| `-(\w)` \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    shorts = {flag.short: flag.name for flag in flags.CAPTURE}
    assert {annotation.rpartition("/")[2]: shorts[short] for annotation, short in rows} == {
        "interceptionMode": "istio-inbound-interception-mode",
        "includeOutboundIPRanges": "istio-service-cidr",
        "excludeOutboundIPRanges": "istio-service-exclude-cidr",
        "includeInboundPorts": "istio-inbound-ports",
        "excludeInboundPorts": "istio-local-exclude-ports",
        "includeOutboundPorts": "istio-outbound-ports",
        "excludeOutboundPorts": "istio-local-outbound-ports-exclude",
        "excludeInterfaces": "istio-exclude-interfaces",
        "reroute-virtual-interfaces": "kube-virt-interfaces",
        "kubevirtInterfaces": "kube-virt-interfaces",
    }
