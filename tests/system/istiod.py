"""What a control plane offers to an agent, made of grpcio: the certificate service, and streams of configuration.

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

from meshproxy.agent.istio_messages import CertificateRequest, CertificateResponse, NameTableMessage


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
        return self._certified(x509.DNSName(name))

    def client(self, spiffe_id: str) -> tuple[bytes, bytes]:
        """Key and chain of a workload."""
        return self._certified(x509.UniformResourceIdentifier(spiffe_id))

    def _certified(self, name: Any) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._leaf(key.public_key(), name, datetime.timedelta(hours=1))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem, leaf.public_bytes(Encoding.PEM)


_ORDER = ("Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration", "Secret")


def _rank(type_url: str) -> int:
    """istiod's order of types in a push."""
    short = type_url.rpartition(".")[2]
    return _ORDER.index(short) if short in _ORDER else len(_ORDER)


class _Stream:
    """One stream of ADS: what its client has asked for, and what it has been sent."""

    def __init__(self, istiod: Istiod, delta: bool) -> None:
        self._istiod = istiod
        self._delta = delta
        self._asked: dict[str, set[str]] = {}
        self._sent: dict[tuple[str, str], bytes] = {}
        self._answered: set[str] = set()
        self._nonce = 0
        self.events: asyncio.Queue[Any] = asyncio.Queue()

    async def read(self, requests: AsyncIterator[Any]) -> None:
        try:
            async for request in requests:
                self._istiod.seen.append(request)
                self.events.put_nowait(request)
        finally:
            self.events.put_nowait(EOFError())

    async def run(self) -> AsyncIterator[Any]:
        while not isinstance(event := await self.events.get(), EOFError):
            if event is not None:
                self._note(event)
            for type_url in sorted(self._asked, key=_rank):
                response = self._respond(type_url)
                if response is not None:
                    yield response

    def _note(self, request: Any) -> None:
        names = self._asked.setdefault(request.type_url, set())
        if not self._delta:
            self._asked[request.type_url] = set(request.resource_names)
            return
        names |= set(request.resource_names_subscribe)
        names -= set(request.resource_names_unsubscribe)

    def _respond(self, type_url: str) -> Any:
        held = self._istiod.resources.get(type_url)
        if held is None:
            return None
        names = self._asked[type_url]
        wanted = {name: value for name, value in held.items() if not names or name in names}
        gone = [name for kind, name in self._sent if kind == type_url and name not in held]
        due = {name: value for name, value in wanted.items() if self._sent.get((type_url, name)) != value}
        if not due and not gone and type_url in self._answered:
            return None
        self._answered.add(type_url)
        self._nonce += 1
        for name in gone:
            del self._sent[type_url, name]
        self._sent |= {(type_url, name): value for name, value in due.items()}
        version, nonce = str(self._istiod.version), f"n{self._nonce}"
        if not self._delta:
            full = discovery_pb2.DiscoveryResponse(version_info=version, type_url=type_url, nonce=nonce)
            for value in wanted.values():
                full.resources.add(type_url=type_url, value=value)
            return full
        change = discovery_pb2.DeltaDiscoveryResponse(
            system_version_info=version, type_url=type_url, nonce=nonce, removed_resources=gone
        )
        for name, value in due.items():
            entry = change.resources.add(name=name, version=version)
            entry.resource.type_url, entry.resource.value = type_url, value
        return change


@dataclass
class Istiod:
    """The server. failing: answer UNAVAILABLE. requests, metadata: of the certificate service.

    resources: what is served, by type and name, serialized; `push` sends what has changed. seen: the requests of all
    streams of ADS, stream_metadata: what each came with.
    """

    authority: Authority
    failing: bool = False
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    stream_metadata: list[dict[str, str]] = field(default_factory=list)
    resources: dict[str, dict[str, bytes]] = field(default_factory=dict)
    version: int = 1
    port: int = 0
    _streams: set[_Stream] = field(default_factory=set)

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> grpc.aio.Server:
        server = grpc.aio.server()
        issue = grpc.unary_unary_rpc_method_handler(
            self._issue, CertificateRequest.FromString, CertificateResponse.SerializeToString
        )
        stream = grpc.stream_stream_rpc_method_handler(
            self._whole,
            discovery_pb2.DiscoveryRequest.FromString,
            discovery_pb2.DiscoveryResponse.SerializeToString,
        )
        delta = grpc.stream_stream_rpc_method_handler(
            self._changes,
            discovery_pb2.DeltaDiscoveryRequest.FromString,
            discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        ads = {"StreamAggregatedResources": stream, "DeltaAggregatedResources": delta}
        services = {
            "istio.v1.auth.IstioCertificateService": {"CreateCertificate": issue},
            "envoy.service.discovery.v3.AggregatedDiscoveryService": ads,
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]
        )
        credentials = grpc.ssl_server_credentials([self.authority.server("localhost")])
        self.port = server.add_secure_port(f"{host}:{port}", credentials)
        await server.start()
        return server

    def push(self) -> None:
        """Send to every stream what has changed."""
        self.version += 1
        for stream in self._streams:
            stream.events.put_nowait(None)

    def of_type(self, type_url: str) -> list[Any]:
        """The requests for one type."""
        return [request for request in self.seen if request.type_url == type_url]

    async def _issue(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.failing:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return CertificateResponse(cert_chain=self.authority.sign(request.csr))

    async def _whole(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for response in self._serve(requests, context, delta=False):
            yield response

    async def _changes(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for response in self._serve(requests, context, delta=True):
            yield response

    async def _serve(self, requests: AsyncIterator[Any], context: Any, *, delta: bool) -> AsyncIterator[Any]:
        self.stream_metadata.append(dict(context.invocation_metadata()))
        stream = _Stream(self, delta)
        self._streams.add(stream)
        reading = asyncio.ensure_future(stream.read(requests))
        try:
            async for response in stream.run():
                yield response
        finally:
            self._streams.discard(stream)
            reading.cancel()


def table(**hosts: list[str]) -> bytes:
    """A serialized table; "_" in a name stands for "."."""
    message = NameTableMessage()
    for host, ips in hosts.items():
        message.table[host.replace("_", ".")].ips.extend(ips)
    return message.SerializeToString()
