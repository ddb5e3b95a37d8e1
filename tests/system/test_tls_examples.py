"""The gateways of `examples/` load, with certificates made as their scripts make them."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshproxy.cli import main
from meshproxy.config.text.bootstrap_load import read_source
from meshproxy.proxy import load_configuration
from meshproxy.runtime.tls.listing import list_certificates

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.mark.parametrize(
    ("name", "certificates", "listed"),
    [
        ("ingress-gateway", ("shop=shop.test", "partners=partners.test"), 2),
        ("egress-gateway", ("us=spiffe://cluster.local/ns/egress/sa/gateway",), 2),
    ],
)
def test_a_gateway_loads(
    name: str, certificates: tuple[str, ...], listed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["certs", "--directory", "certs", *certificates]) == 0
    configuration = load_configuration([read_source(EXAMPLES / name / "gateway.yaml")])
    assert configuration.warnings == ()
    assert len(list_certificates(configuration.snapshot)) == listed
