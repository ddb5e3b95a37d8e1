"""What the sidecars of the demo watch: certificates, routes and hosts, as files that change while they run.

A file is written under another name, given to the sidecars' user, and then moved into its place: nobody reads half of
one, or one that it may not read.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
V1 = "outbound|{port}|v1|shop.default.svc.cluster.local"


def fill_in(name: str, values: dict[str, str | int]) -> str:
    """A configuration of this folder with its `@NAME@`s replaced. Raises KeyError for one without a value."""
    return re.sub(r"@([A-Z0-9_]+)@", lambda found: str(values[found[1]]), (HERE / name).read_text())


class MeshFiles:
    """The files of one mesh. values: what stands for the `@NAME@`s. owner: the sidecars' user and group, None: ours."""

    def __init__(self, folder: Path, values: dict[str, str | int], owner: int | None = None) -> None:
        from meshproxy.runtime.tls.authority import LocalAuthority

        self._values = values
        self._owner = owner
        self._certs = Path(str(values["CERTS"]))
        self._config = Path(str(values["WEB_CONFIG"]))
        for directory in (self._certs, self._config):
            directory.mkdir(parents=True, exist_ok=True)
        self._authority = LocalAuthority(folder / "authority")
        self._install(self._certs / "ca.pem", (folder / "authority" / "ca.pem").read_bytes())
        for name in ("web", "shop"):
            self.renew_certificate(name)
        self.write_routes(90, 10)
        self.write_hosts([str(values["SHOP_IP"])])

    def _install(self, path: Path, content: bytes) -> None:
        draft = path.with_name(f".{path.name}.new")
        draft.write_bytes(content)
        draft.chmod(0o600 if path.suffix == ".key" else 0o644)
        if self._owner is not None:
            os.chown(draft, self._owner, self._owner)
        draft.replace(path)

    def renew_certificate(self, name: str) -> None:
        """A new key and certificate for a pod, valid for an hour."""
        made = self._authority.issue(name, (f"spiffe://cluster.local/ns/default/sa/{name}",), days=1 / 24)
        for path in made:
            self._install(self._certs / path.name, path.read_bytes())

    def write_routes(self, v1: int, v2: int) -> None:
        """The canary's weights."""
        text = fill_in("routes.yaml", {**self._values, "V1_WEIGHT": v1, "V2_WEIGHT": v2})
        self._install(self._config / "routes.yaml", text.encode())

    def write_hosts(self, ips: list[str]) -> None:
        """Where version v1 is."""
        port = self._values["SHOP_V1_PORT"]
        hosts = [f"{{endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {port}}}}}}}}}" for ip in ips]
        text = fill_in("endpoints.yaml", {**self._values, "V1_HOSTS": ", ".join(hosts)})
        self._install(self._config / "endpoints.yaml", text.encode())
