"""A configuration of the benchmark dressed up: "istio+tls" is istio.yaml with TLS in front.

tls: clients come over TLS. mtls: and show a certificate. h2up: hosts are spoken to in HTTP/2. tlsup: over TLS,
and shown a certificate. bodies: the host is
`body_server`. Certificates are made
once for a run, by `meshproxy certs`: P-256, as everywhere in a mesh.
"""

from __future__ import annotations

import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_CHAIN = "        - filters:\n"
_STATS = "                stat_prefix: http\n"
_AT_ONCE = "                delayed_close_timeout: 0s\n"
"""openssl waits for the end of the connection, and that would make the second until it nearly all of the time."""
_CONNECT = "      connect_timeout: 1s\n"
_TLS = """\
        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              require_client_certificate: {required}
              common_tls_context:
                alpn_protocols: [h2, http/1.1]
                tls_certificates:
                - certificate_chain: {{filename: {certs}/web.pem}}
                  private_key: {{filename: {certs}/web.key}}
                {validation}
          filters:
"""
_TLS_UPSTREAM = """\
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: web.test
          common_tls_context:
            tls_certificates:
            - certificate_chain: {{filename: {certs}/client.pem}}
              private_key: {{filename: {certs}/client.key}}
            validation_context: {{trusted_ca: {{filename: {certs}/ca.pem}}}}
"""
_OTHER_HOSTS = {
    "websocket": "$backend_10",
    "echo": "$backend_11",
    "source": "$backend_12",
    "sink": "$backend_13",
    "h2up": "$backend_4",
    "bodies": "$backend_5",
    "tlsup": "$backend_8",
}
"""The port of the hosts instead, see `backend`; the first that is named counts."""
_H2_UPSTREAM = """\
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
"""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files: of the authority, the server and a client."""

    directory: Path

    @property
    def authority(self) -> Path:
        return self.directory / "ca.pem"

    def make(self) -> None:
        """Unless they are there."""
        if not self.authority.exists():
            command = [sys.executable, "-m", "meshproxy.cli", "certs", "--directory", str(self.directory)]
            names = ["web=web.test,spiffe://cluster.local/ns/a/sa/web", "client=spiffe://cluster.local/ns/a/sa/client"]
            subprocess.run([*command, *names], check=True, capture_output=True)

    def client(self) -> ssl.SSLContext:
        """What the first answer is asked with."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.check_hostname = False
        context.load_cert_chain(self.directory / "client.pem", self.directory / "client.key")
        return context


def is_secured(name: str) -> bool:
    """Whether clients of the configuration `name` come over TLS."""
    return not {"tls", "mtls"}.isdisjoint(name.split("+"))


def dress(text: str, name: str, certificates: Certificates) -> str:
    """The configuration `text` with what is in `name` behind its first "+"."""
    parts = name.split("+")[1:]
    if is_secured(name):
        mutual = "mtls" in parts
        validation = f"validation_context: {{trusted_ca: {{filename: {certificates.authority}}}}}" if mutual else ""
        socket = _TLS.format(required=str(mutual).lower(), certs=certificates.directory, validation=validation)
        text = text.replace(_CHAIN, socket)
        if mutual:
            text = text.replace(_STATS, _STATS + _AT_ONCE)
    if "h2up" in parts:
        text = text.replace(_CONNECT, _CONNECT + _H2_UPSTREAM)
    if "tlsup" in parts:
        text = text.replace(_CONNECT, _CONNECT + _TLS_UPSTREAM.format(certs=certificates.directory))
    instead = next((port for part, port in _OTHER_HOSTS.items() if part in parts), "")
    for number in (1, 2, 3) if instead else ():
        text = text.replace(f"$backend_{number}", instead)
    return text
