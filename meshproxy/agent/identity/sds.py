"""The agent's secrets over a Unix socket, for the proxy that it has started.

The secret discovery service of Envoy in its three forms (StreamSecrets, DeltaSecrets, FetchSecrets): a listener or
cluster of a control plane names secrets and the cluster `sds-grpc`. A secret that isn't there yet is sent when it
comes; one that changes is sent again to everyone who asked for it. Names that nobody knows are never answered, as with
pilot-agent: whoever waits for them goes by its own time limit.
"""

from __future__ import annotations

import asyncio
from typing import Any

from meshproxy.agent.grpc.grpc_call import Call
from meshproxy.agent.grpc.grpc_server import Handler
from meshproxy.agent.identity.secrets import TYPE, Secrets, Versioned

SOCKET = "./var/run/secrets/workload-spiffe-uds/socket"
_SERVICE = "/envoy.service.secret.v3.SecretDiscoveryService/"


class SecretService:
    """The service; `handlers` is what `serve_grpc` needs of it."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._waiting: set[asyncio.Queue[Any]] = set()
        secrets.on_change.append(self._changed)

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            f"{_SERVICE}StreamSecrets": self._stream,
            f"{_SERVICE}DeltaSecrets": self._delta,
            f"{_SERVICE}FetchSecrets": self._fetch,
        }

    def _changed(self) -> None:
        for queue in self._waiting:
            queue.put_nowait(None)

    async def _events(self, call: Call, queue: asyncio.Queue[Any]) -> None:
        """Requests into the queue, where changes arrive too; an exception at their end."""
        try:
            async for message in call:
                queue.put_nowait(message)
        finally:
            queue.put_nowait(EOFError())

    def _found(self, names: list[str]) -> dict[str, Versioned]:
        return {name: found for name in names if (found := self._secrets.find(name)) is not None}

    async def _stream(self, call: Call) -> None:
        """State of the world: all secrets asked for, in one response."""
        from envoy.service.discovery.v3 import discovery_pb2

        names: list[str] = []
        sent: dict[str, str] = {}
        nonce = 0
        async for message in self._merged(call):
            if message is not None:
                names = list(discovery_pb2.DiscoveryRequest.FromString(message).resource_names)
            found = self._found(names)
            versions = {name: secret.version for name, secret in found.items()}
            if found and versions != sent:
                nonce += 1
                sent = versions
                call.send(_response(found, str(nonce)).SerializeToString())

    async def _delta(self, call: Call) -> None:
        """Delta: each secret once per version."""
        from envoy.service.discovery.v3 import discovery_pb2

        names: set[str] = set()
        sent: dict[str, str] = {}
        nonce = 0
        async for message in self._merged(call):
            if message is not None:
                request = discovery_pb2.DeltaDiscoveryRequest.FromString(message)
                names |= set(request.resource_names_subscribe)
                names -= set(request.resource_names_unsubscribe)
                for name in request.resource_names_subscribe:
                    sent.pop(name, None)
                sent = {name: version for name, version in sent.items() if name in names}
            resources = []
            for name, secret in self._found(sorted(names)).items():
                if sent.get(name) != secret.version:
                    sent[name] = secret.version
                    resource = discovery_pb2.Resource(name=name, version=secret.version, resource=secret.resource)
                    resources.append(resource)
            if resources:
                nonce += 1
                response = discovery_pb2.DeltaDiscoveryResponse(
                    system_version_info=str(nonce), resources=resources, type_url=TYPE, nonce=str(nonce)
                )
                call.send(response.SerializeToString())

    async def _fetch(self, call: Call) -> None:
        """Once, with what is there."""
        from envoy.service.discovery.v3 import discovery_pb2

        async for message in call:
            names = discovery_pb2.DiscoveryRequest.FromString(message).resource_names
            await self._secrets.there()
            call.send(_response(self._found(list(names)), "1").SerializeToString())

    async def _merged(self, call: Call) -> Any:
        """Requests (bytes) and changes (None) of a stream, as they come, until the client ends it."""
        queue: asyncio.Queue[Any] = asyncio.Queue()
        self._waiting.add(queue)
        reading = asyncio.ensure_future(self._events(call, queue))
        try:
            while not isinstance(event := await queue.get(), EOFError):
                yield event
        finally:
            self._waiting.discard(queue)
            reading.cancel()


def _response(found: dict[str, Versioned], nonce: str) -> Any:
    from envoy.service.discovery.v3 import discovery_pb2

    resources = [secret.resource for secret in found.values()]
    return discovery_pb2.DiscoveryResponse(version_info=nonce, resources=resources, type_url=TYPE, nonce=nonce)
