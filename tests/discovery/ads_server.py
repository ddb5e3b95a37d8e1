"""A management server that does only what a test tells it: gRPC, state-of-the-world and delta, every discovery service
at once, and load reports.

A test takes the requests of a stream one by one as they come over the wire, and says what to answer, when, and with
which nonce. Nothing is answered by itself. gRPC is grpcio's, which shares no line with the program under test.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.load_stats.v3 import lrs_pb2
from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message

TYPES: dict[str, type[Message]] = {
    "CDS": cluster_pb2.Cluster,
    "EDS": endpoint_pb2.ClusterLoadAssignment,
    "LDS": listener_pb2.Listener,
    "RDS": route_pb2.RouteConfiguration,
    "SDS": secret_pb2.Secret,
    "ECDS": extension_pb2.TypedExtensionConfig,
    "RTDS": rtds_pb2.Runtime,
}
URLS = {label: f"type.googleapis.com/{kind.DESCRIPTOR.full_name}" for label, kind in TYPES.items()}
LABELS = {url: label for label, url in URLS.items()}


class Stream:
    """One stream of a client. delta: which protocol. requests: all that have come, with the moment of each."""

    def __init__(self, method: str, metadata: dict[str, str]) -> None:
        self.method = method
        self.metadata = metadata
        self.delta = "/Delta" in method
        self.requests: list[tuple[float, Any]] = []
        self.ended = asyncio.Event()
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()
        self._answers: asyncio.Queue[Any] = asyncio.Queue()

    async def request(self, seconds: float = 10.0) -> Any:
        """The next request."""
        return await asyncio.wait_for(self._arrived.get(), seconds)

    async def quiet(self, seconds: float) -> list[Any]:
        """The requests that come within some time, of which there should perhaps be none."""
        await asyncio.sleep(seconds)
        found = []
        while not self._arrived.empty():
            found.append(self._arrived.get_nowait())
        return found

    def answer(
        self, label: str, version: str, nonce: str, resources: Iterable[Message] = (), removed: Sequence[str] = ()
    ) -> None:
        """Send resources of one type. For delta every resource has the version."""
        packed = [pack(resource) for resource in resources]
        if not self.delta:
            self.send(
                discovery_pb2.DiscoveryResponse(
                    type_url=URLS[label], version_info=version, nonce=nonce, resources=packed
                )
            )
            return
        response = discovery_pb2.DeltaDiscoveryResponse(
            type_url=URLS[label], system_version_info=version, nonce=nonce, removed_resources=removed
        )
        for resource in packed:
            message = TYPES[label]()
            message.ParseFromString(resource.value)
            name = getattr(message, "cluster_name", "") or getattr(message, "name", "")
            response.resources.add(name=name, version=version, resource=resource)
        self.send(response)

    def send(self, response: Message) -> None:
        """Send a response as it is."""
        self._answers.put_nowait(response)

    def end(self, code: grpc.StatusCode = grpc.StatusCode.OK, details: str = "") -> None:
        """End the stream."""
        self._answers.put_nowait((code, details))

    def _came(self, request: Any) -> None:
        self.requests.append((asyncio.get_running_loop().time(), request))
        self._arrived.put_nowait(request)


def pack(resource: Message) -> any_pb2.Any:
    """A resource as it stands in a response; an `Any` as it is."""
    if isinstance(resource, any_pb2.Any):
        return resource
    packed = any_pb2.Any()
    packed.Pack(resource)
    return packed


class AdsServer:
    """The server. Every method of every discovery service leads to a `Stream`."""

    def __init__(self) -> None:
        self._streams: asyncio.Queue[Stream] = asyncio.Queue()
        self.streams: list[Stream] = []
        self.address = ""
        self.on_stream: Callable[[Stream], None] | None = None
        self._server: Any = None
        self._credentials: Any = None

    async def start(self, address: str = "127.0.0.1:0", credentials: Any = None) -> None:
        """Listen on `host:port` or `unix:path`."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((_Handler(self),))
        if credentials is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, credentials)
        self.address = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
        self._credentials = credentials
        await self._server.start()

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    async def stop(self) -> None:
        """End every stream at once and let go of the port."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def restart(self) -> None:
        """Come back at the same address."""
        await self.stop()
        await self.start(self.address, self._credentials)

    async def stream(self, seconds: float = 40.0) -> Stream:
        """The next stream that a client opens."""
        return await asyncio.wait_for(self._streams.get(), seconds)

    async def serve(self, method: str, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """One stream."""
        metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
        stream = Stream(method, metadata)
        self.streams.append(stream)
        self._streams.put_nowait(stream)
        if self.on_stream is not None:
            self.on_stream(stream)
        reading = asyncio.ensure_future(self._read(stream, requests))
        try:
            while True:
                answer = await stream._answers.get()
                if isinstance(answer, tuple):
                    if answer[0] is not grpc.StatusCode.OK:
                        await context.abort(*answer)
                    return
                yield answer
        finally:
            reading.cancel()
            stream.ended.set()

    @staticmethod
    async def _read(stream: Stream, requests: AsyncIterator[Any]) -> None:
        with contextlib.suppress(asyncio.CancelledError, grpc.RpcError, grpc.aio.AioRpcError, Exception):
            async for request in requests:
                stream._came(request)
        stream.ended.set()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, server: AdsServer) -> None:
        self._server = server

    def service(self, details: Any) -> Any:
        method: str = details.method
        request: Any = lrs_pb2.LoadStatsRequest
        if not method.endswith("/StreamLoadStats"):
            name = "DeltaDiscovery" if "/Delta" in method else "Discovery"
            request = getattr(discovery_pb2, f"{name}Request")

        async def serve(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            async for answer in self._server.serve(method, requests, context):
                yield answer

        return grpc.stream_stream_rpc_method_handler(
            serve,
            request_deserializer=request.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )


def told(request: Any) -> str:
    """A request as one line, without the node: what a test compares.

    State-of-the-world: `EDS v1 n2 [a b]`; delta: `EDS n2 +a +b -c a@v1`; a NACK ends with `! message`.
    """
    label = LABELS.get(request.type_url, request.type_url)
    parts = [label]
    if hasattr(request, "version_info"):
        parts += [request.version_info or "-", request.response_nonce or "-"]
        parts.append(f"[{' '.join(sorted(request.resource_names))}]")
    else:
        parts.append(request.response_nonce or "-")
        parts += [f"+{name}" for name in sorted(request.resource_names_subscribe)]
        parts += [f"-{name}" for name in sorted(request.resource_names_unsubscribe)]
        parts += [f"{name}@{version}" for name, version in sorted(request.initial_resource_versions.items())]
    if request.HasField("error_detail"):
        parts.append(f"! {request.error_detail.code} {request.error_detail.message}")
    return " ".join(parts)
