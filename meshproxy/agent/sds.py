"""The proxy's secrets over a Unix socket: `default` (key and chain) and `ROOTCA` (what peers are verified against).

The secret discovery service of Envoy in its three forms (StreamSecrets, DeltaSecrets, FetchSecrets), for the proxy
that the agent has started: a listener or cluster of a control plane names these secrets and the cluster `sds-grpc`.
A secret that isn't there yet is sent when it comes; one that changes is sent again to everyone who asked for it. Names
that nobody knows are never answered, as with pilot-agent: whoever waits for them goes by its own time limit.
"""

from __future__ import annotations

import asyncio
from typing import Any

from meshproxy.agent.certificates import Certificates
from meshproxy.agent.credentials import Credentials
from meshproxy.agent.grpc_call import Call
from meshproxy.agent.grpc_server import Handler

SOCKET = "./var/run/secrets/workload-spiffe-uds/socket"
_SERVICE = "/envoy.service.secret.v3.SecretDiscoveryService/"
_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def secret_of(name: str, credentials: Credentials) -> Any:
    """The `Secret` of a name as an Any, or None for a name that nobody knows."""
    from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
    from google.protobuf import any_pb2

    secret = secret_pb2.Secret(name=name)
    if name == "default":
        secret.tls_certificate.certificate_chain.inline_bytes = credentials.chain
        secret.tls_certificate.private_key.inline_bytes = credentials.key
    elif name == "ROOTCA":
        secret.validation_context.trusted_ca.inline_bytes = credentials.root
    else:
        return None
    return any_pb2.Any(type_url=_TYPE, value=secret.SerializeToString())


class SecretService:
    """The service; `handlers` is what `serve_grpc` needs of it."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._waiting: set[asyncio.Queue[Any]] = set()
        self._version = 0
        certificates.on_change.append(self._changed)

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            f"{_SERVICE}StreamSecrets": self._stream,
            f"{_SERVICE}DeltaSecrets": self._delta,
            f"{_SERVICE}FetchSecrets": self._fetch,
        }

    def _changed(self, _: Credentials) -> None:
        self._version += 1
        for queue in self._waiting:
            queue.put_nowait(None)

    async def _events(self, call: Call, queue: asyncio.Queue[Any]) -> None:
        """Requests into the queue, where changes arrive too; an exception at their end."""
        try:
            async for message in call:
                queue.put_nowait(message)
        finally:
            queue.put_nowait(EOFError())

    async def _stream(self, call: Call) -> None:
        """State of the world: all secrets asked for, in one response."""
        from envoy.service.discovery.v3 import discovery_pb2

        names: list[str] = []
        sent: tuple[int, list[str]] = (0, [])
        nonce = 0
        async for message in self._merged(call):
            if message is not None:
                request = discovery_pb2.DiscoveryRequest.FromString(message)
                names = list(request.resource_names)
            current = self._certificates.current
            if current is None or not names or sent == (self._version, names):
                continue
            secrets = [secret for name in names if (secret := secret_of(name, current)) is not None]
            if secrets:
                nonce += 1
                sent = (self._version, names)
                call.send(self._response(discovery_pb2, secrets, str(nonce)).SerializeToString())

    def _response(self, discovery_pb2: Any, secrets: list[Any], nonce: str) -> Any:
        return discovery_pb2.DiscoveryResponse(
            version_info=str(self._version), resources=secrets, type_url=_TYPE, nonce=nonce
        )

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
            current = self._certificates.current
            version = str(self._version)
            due = [name for name in sorted(names) if sent.get(name) != version] if current is not None else []
            resources = []
            for name in due:
                secret = secret_of(name, current) if current is not None else None
                if secret is not None:
                    sent[name] = version
                    resources.append(discovery_pb2.Resource(name=name, version=version, resource=secret))
            if resources:
                nonce += 1
                response = discovery_pb2.DeltaDiscoveryResponse(
                    system_version_info=version, resources=resources, type_url=_TYPE, nonce=str(nonce)
                )
                call.send(response.SerializeToString())

    async def _fetch(self, call: Call) -> None:
        """Once, with what is there."""
        from envoy.service.discovery.v3 import discovery_pb2

        async for message in call:
            names = discovery_pb2.DiscoveryRequest.FromString(message).resource_names
            await self._certificates.there.wait()
            current = self._certificates.current
            assert current is not None
            secrets = [secret for name in names if (secret := secret_of(name, current)) is not None]
            call.send(self._response(discovery_pb2, secrets, "1").SerializeToString())

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
