"""What a control plane offers to an agent, made of grpcio: the certificate service, and a stream of name tables.

A test says what is answered and looks at what was asked; nothing of the project's own HTTP/2 or gRPC is in it.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from envoy.service.discovery.v3 import discovery_pb2

from meshproxy.agent.istio_messages import NAME_TABLE_TYPE, CertificateRequest, CertificateResponse, NameTableMessage


class Authority:
    """A root that signs what it is asked to, for `lifetime` seconds each."""

    def __init__(self, spiffe_id: str, lifetime: float = 3600.0) -> None:
        self.lifetime = lifetime
        self._spiffe_id = spiffe_id
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])
        self.root = self._build(name, name, self.key.public_key(), None, datetime.timedelta(days=1), authority=True)

    def _build(
        self, issuer: x509.Name, subject: x509.Name, key: Any, name: Any, life: datetime.timedelta, *, authority: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .issuer_name(issuer)
            .subject_name(subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(seconds=1 if name else 60))
            .not_valid_after(now + life)
            .add_extension(x509.BasicConstraints(authority, None), True)
        )
        if name is not None:
            usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            builder = builder.add_extension(x509.SubjectAlternativeName([name]), False)
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), False)
        return builder.sign(self.key, hashes.SHA256())

    def sign(self, request: str) -> list[str]:
        """Leaf and root for a signing request."""
        csr = x509.load_pem_x509_csr(request.encode())
        assert csr.is_signature_valid
        name = x509.UniformResourceIdentifier(self._spiffe_id)
        leaf = self._leaf(csr.public_key(), name, datetime.timedelta(seconds=self.lifetime))
        return [leaf.public_bytes(Encoding.PEM).decode(), self.root_pem.decode()]

    def _leaf(self, key: Any, name: Any, life: datetime.timedelta) -> x509.Certificate:
        return self._build(self.root.subject, x509.Name([]), key, name, life, authority=False)

    @property
    def root_pem(self) -> bytes:
        return self.root.public_bytes(Encoding.PEM)

    def server(self, name: str) -> tuple[bytes, bytes]:
        """Key and chain of a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._leaf(key.public_key(), x509.DNSName(name), datetime.timedelta(hours=1))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem, leaf.public_bytes(Encoding.PEM)


@dataclass
class Istiod:
    """The server. failing: answer UNAVAILABLE. requests, metadata: of the certificate service. nds: what came there."""

    authority: Authority
    failing: bool = False
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    nds: list[Any] = field(default_factory=list)
    tables: asyncio.Queue[tuple[str, bytes]] = field(default_factory=asyncio.Queue)
    port: int = 0

    async def start(self) -> grpc.aio.Server:
        server = grpc.aio.server()
        issue = grpc.unary_unary_rpc_method_handler(
            self._issue, CertificateRequest.FromString, CertificateResponse.SerializeToString
        )
        stream = grpc.stream_stream_rpc_method_handler(
            self._stream,
            discovery_pb2.DiscoveryRequest.FromString,
            discovery_pb2.DiscoveryResponse.SerializeToString,
        )
        services = {
            "istio.v1.auth.IstioCertificateService": {"CreateCertificate": issue},
            "envoy.service.discovery.v3.AggregatedDiscoveryService": {"StreamAggregatedResources": stream},
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]
        )
        credentials = grpc.ssl_server_credentials([self.authority.server("localhost")])
        self.port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        return server

    async def _issue(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.failing:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return CertificateResponse(cert_chain=self.authority.sign(request.csr))

    async def _stream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async def read() -> None:
            async for request in requests:
                self.nds.append(request)

        reading = asyncio.ensure_future(read())
        try:
            while True:
                version, value = await self.tables.get()
                response = discovery_pb2.DiscoveryResponse(
                    version_info=version, type_url=NAME_TABLE_TYPE, nonce=f"n{version}"
                )
                response.resources.add(type_url=NAME_TABLE_TYPE, value=value)
                yield response
        finally:
            reading.cancel()


def table(**hosts: list[str]) -> bytes:
    """A serialized table; "_" in a name stands for "."."""
    message = NameTableMessage()
    for host, ips in hosts.items():
        message.table[host.replace("_", ".")].ips.extend(ips)
    return message.SerializeToString()
