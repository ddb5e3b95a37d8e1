"""Which TLS handshakes a server accepts, asked by openssl s_client, beside Envoy's: run by hand, or by its test.

    python -m tests.conformance.handshakes

Prints the table of docs/tls.md: what is offered, and what each program makes of it. A list of suites is found as
scanners do: everything is offered, what the server chose is left out of the next offer, until it refuses; so the order
is the server's own. The client is OpenSSL at security level 0, which offers what nobody should take.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..certificates import folder
from ..parity.subject import Subject
from ..ports import PortBlock

_API = "type.googleapis.com/envoy.extensions"
_SECONDS = 20.0
_AT_ONCE = 6
REFUSED = "refused"
GROUPS = ("X25519", "P-256", "P-384", "P-521", "X448", "ffdhe2048", "ffdhe3072")
SIGNATURES = {
    "ec": ("ECDSA+SHA256", "ECDSA+SHA384", "ECDSA+SHA512", "ECDSA+SHA1", "ECDSA+SHA224", "ed25519"),
    "rsa": (
        *("rsa_pss_rsae_sha256", "rsa_pss_rsae_sha384", "rsa_pss_rsae_sha512"),
        *("RSA+SHA256", "RSA+SHA384", "RSA+SHA512", "RSA+SHA1", "RSA+SHA224"),
    ),
}


def bootstrap(ports: dict[str, int], admin: int) -> str:
    """A listener for each key type, and one that asks clients for a certificate."""
    certs = folder().path
    listeners = []
    for name, port in ports.items():
        kind = "server-rsa" if name == "rsa" else "server"
        common: dict[str, Any] = {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(certs / f"{kind}.pem")},
                    "private_key": {"filename": str(certs / f"{kind}.key")},
                }
            ],
        }
        tls: dict[str, Any] = {
            "@type": f"{_API}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": common,
        }
        if name == "mutual":
            common["validation_context"] = {"trusted_ca": {"filename": str(certs / "ca.pem")}}
            tls["require_client_certificate"] = True
        route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
        manager = {
            "@type": f"{_API}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "tls",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [{"name": "router", "typed_config": {"@type": f"{_API}.filters.http.router.v3.Router"}}],
        }
        chain = {
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
            "filters": [{"name": "http", "typed_config": manager}],
        }
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        listeners.append({"name": name, "address": address, "filter_chains": [chain]})
    return json.dumps(
        {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
            "static_resources": {"listeners": listeners},
        }
    )


@dataclass(frozen=True, slots=True)
class Shaken:
    """One handshake: `text` is all that s_client says of it."""

    text: str

    def _find(self, pattern: str) -> str:
        found = re.search(pattern, self.text)
        return found[1] if found is not None else ""

    @property
    def done(self) -> bool:
        return self.suite not in ("", "(NONE)", "0000")

    @property
    def suite(self) -> str:
        return self._find(r"New, [^,]+, Cipher is (\S+)")

    @property
    def protocol(self) -> str:
        return self._find(r"ALPN protocol: (\S+)") or "none"


class Scanner:
    """Asks one program."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._ports = ports
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def shake(self, port: str, *options: str, say: str = "") -> Shaken:
        """One handshake. say: what is typed behind it, "Q" or "R" with their meaning for s_client."""
        level = () if "-cipher" in options else ("-cipher", "ALL:@SECLEVEL=0")
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{self._ports[port]}", *level, *options]
        async with self._room:
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
            )
            try:
                output, _ = await asyncio.wait_for(process.communicate(say.encode()), _SECONDS)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        return Shaken(output.decode(errors="replace"))

    async def each(
        self, port: str, offers: dict[str, tuple[str, ...]], show: Callable[[Shaken], str] = lambda shaken: "accepted"
    ) -> dict[str, str]:
        """What becomes of each offer."""
        shaken = await asyncio.gather(*(self.shake(port, *options) for options in offers.values()))
        return {name: show(one) if one.done else REFUSED for name, one in zip(offers, shaken, strict=True)}

    async def suites(self, port: str) -> str:
        """The suites of TLS 1.2, in the server's order."""
        found: list[str] = []
        while len(found) < 40:
            left = ":".join(["ALL", "COMPLEMENTOFALL", *(f"!{name}" for name in found), "@SECLEVEL=0"])
            shaken = await self.shake(port, "-tls1_2", "-cipher", left)
            if not shaken.done:
                break
            found.append(shaken.suite)
        return " ".join(found) or REFUSED

    async def resumption(self, port: str, version: str) -> str:
        """Whether a session can be taken up again."""
        with tempfile.TemporaryDirectory() as name:
            session = f"{name}/session"
            # The tickets of TLS 1.3 come behind the handshake: an answer is waited for.
            ask = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
            await self.shake(port, version, "-ign_eof", "-sess_out", session, say=ask)
            if not Path(session).exists():
                return "no session"
            again = await self.shake(port, version, "-sess_in", session)
        return "resumed" if "\nReused," in again.text else "full handshake"

    async def renegotiation(self, port: str) -> str:
        """What becomes of a client's wish to begin anew (TLS 1.2)."""
        shaken = await self.shake(port, "-tls1_2", say="R\n")
        if "no renegotiation" in shaken.text or "alert" in shaken.text or "error" in shaken.text.lower():
            return REFUSED
        return "accepted" if shaken.text.count("verify return") > 2 else REFUSED

    async def scan(self) -> dict[str, str]:
        """Rows of the table."""
        rows: dict[str, str] = {}
        versions = {"TLS 1.0": "-tls1", "TLS 1.1": "-tls1_1", "TLS 1.2": "-tls1_2", "TLS 1.3": "-tls1_3"}
        jobs: list[tuple[str, Coroutine[Any, Any, dict[str, str] | str]]] = [
            ("", self.each("ec", {name: (option,) for name, option in versions.items()})),
            ("suites of TLS 1.2, EC key", self.suites("ec")),
            ("suites of TLS 1.2, RSA key", self.suites("rsa")),
            (
                "suite of TLS 1.3: ",
                self.each(
                    "ec",
                    {
                        name: ("-tls1_3", "-ciphersuites", name)
                        for name in (
                            "TLS_AES_128_GCM_SHA256",
                            "TLS_AES_256_GCM_SHA384",
                            "TLS_CHACHA20_POLY1305_SHA256",
                            "TLS_AES_128_CCM_SHA256",
                        )
                    },
                ),
            ),
            ("TLS 1.3, group ", self.each("ec", {name: ("-tls1_3", "-groups", name) for name in GROUPS})),
            ("TLS 1.2, group ", self.each("rsa", {name: ("-tls1_2", "-groups", name) for name in GROUPS[:5]})),
            (
                "protocol offered: ",
                self.each(
                    "ec",
                    {
                        "h2, http/1.1": ("-alpn", "h2,http/1.1"),
                        "http/1.1, h2": ("-alpn", "http/1.1,h2"),
                        "another": ("-alpn", "foo"),
                        "none": (),
                    },
                    lambda shaken: shaken.protocol,
                ),
            ),
            ("TLS 1.2 where 1.3 could be (TLS_FALLBACK_SCSV)", self._fallback()),
            ("compression", self._compression()),
            ("renegotiation by the client", self.renegotiation("ec")),
            ("session of TLS 1.2", self.resumption("ec", "-tls1_2")),
            ("session of TLS 1.3", self.resumption("ec", "-tls1_3")),
            ("no client certificate, TLS 1.2", self._without_certificate("-tls1_2")),
            ("no client certificate, TLS 1.3", self._without_certificate("-tls1_3")),
        ]
        for kind, names in SIGNATURES.items():
            for version in ("1.2", "1.3"):
                offers: dict[str, tuple[str, ...]] = {
                    name: (f"-tls{version.replace('.', '_')}", "-sigalgs", name) for name in names
                }
                jobs.append((f"TLS {version}, signature by an {kind.upper()} key: ", self.each(kind, offers)))
        results = await asyncio.gather(*(job for _, job in jobs))
        for (title, _), result in zip(jobs, results, strict=True):
            if isinstance(result, str):
                rows[title] = result
            else:
                rows |= {title + name: value for name, value in result.items()}
        return rows

    async def _fallback(self) -> str:
        shaken = await self.shake("ec", "-tls1_2", "-fallback_scsv")
        return "accepted" if shaken.done else REFUSED

    async def _compression(self) -> str:
        shaken = await self.shake("ec", "-tls1_2", "-comp")
        return "none" if "Compression: NONE" in shaken.text else "used"

    async def _without_certificate(self, version: str) -> str:
        shaken = await self.shake("mutual", version, "-ign_eof", say="GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        return "accepted" if "HTTP/1.1 200" in shaken.text else REFUSED


async def scan(program: str) -> dict[str, str]:
    """What `program` ("meshproxy" or "envoy") accepts."""
    block = PortBlock()
    with tempfile.TemporaryDirectory() as name:
        ports = {kind: block.take() for kind in ("ec", "rsa", "mutual")}
        admin = block.take()
        config = Path(name, "bootstrap.json")
        config.write_text(bootstrap(ports, admin))
        subject = Subject(program, Path(name), admin)
        try:
            await subject.start(config)
            return await Scanner(ports).scan()
        finally:
            await subject.stop()
            block.release()


def rows(envoys: dict[str, str], ours: dict[str, str]) -> list[str]:
    """The lines of the table."""
    return [
        f"| {name} | {value} | {'the same' if ours[name] == value else ours[name]} |" for name, value in envoys.items()
    ]


def main() -> None:
    envoys, ours = (asyncio.run(scan(program)) for program in ("envoy", "meshproxy"))
    print("| offered | Envoy 1.40 | meshproxy |\n|---|---|---|", *rows(envoys, ours), sep="\n")


if __name__ == "__main__":
    main()
