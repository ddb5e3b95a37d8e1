"""The proxy's configuration on its way from the control plane: each stream of the proxy becomes one of the agent's.

    proxy --<configPath>/XDS--> agent --TLS, token--> control plane

The proxy asks on a Unix socket; messages go on as they are. What is meant for the agent travels on the same stream, so
that the control plane knows one client: tables of names and its configuration, asked for once the proxy has asked for
its listeners, and what the application's health is. Messages of those types don't reach the proxy.

Invariants: a stream of the proxy's has one stream at the control plane, and both end together, with the status of
whichever ended first; beginning again is the proxy's, which knows what it has. A new stream ends an older one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from meshproxy.agent.control_plane.control_plane import ControlPlane
from meshproxy.agent.figures import Figures
from meshproxy.agent.grpc.grpc_call import UNAVAILABLE, Call, GrpcError
from meshproxy.agent.grpc.grpc_server import GrpcServer, serve_grpc
from meshproxy.plugin.context import Logger

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_LISTENERS = "type.googleapis.com/envoy.config.listener.v3.Listener"
_INTERNAL = 13

Use = Callable[[Sequence[bytes]], None]
"""Takes the serialized resources of a response; raises ValueError for what can't be used."""


class XdsRelay:
    """uses: by type URL, who takes the resources that are the agent's. `active`: a stream at the control plane.

    health: the type and the text by which the application's is told, None as long as nobody knows.
    """

    def __init__(self, control_plane: ControlPlane, uses: Mapping[str, Use], figures: Figures, log: Logger) -> None:
        self._control_plane = control_plane
        self.uses = uses
        self.figures = figures
        self.log = log
        self._server: GrpcServer | None = None
        self._current: _Stream | None = None
        self.health: Any = None
        self.streams = 0

    async def start(self, path: Path, mode: int = 0o600) -> None:
        """mode: of the socket. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._server = await serve_grpc(
            str(path),
            {
                f"{SERVICE}StreamAggregatedResources": self._state_of_the_world,
                f"{SERVICE}DeltaAggregatedResources": self._delta,
            },
            mode,
        )

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    @property
    def active(self) -> bool:
        return self._current is not None

    def report_health(self, type_url: str, problem: str) -> None:
        """Tell the control plane how the application is, now and on each stream to come. problem: "" for well."""
        self.health = (type_url, problem)
        if self._current is not None:
            self._current.tell_health(*self.health)

    async def _state_of_the_world(self, call: Call) -> None:
        await self._relay(call, delta=False)

    async def _delta(self, call: Call) -> None:
        await self._relay(call, delta=True)

    async def _relay(self, call: Call, *, delta: bool) -> None:
        if self._current is not None:
            self._current.end()
        try:
            channel = await self._control_plane.connect()
        except (OSError, GrpcError) as error:
            self.figures.add("istiod_connection_failures")
            raise error if isinstance(error, GrpcError) else GrpcError(UNAVAILABLE, str(error)) from None
        self.streams += 1
        method = "DeltaAggregatedResources" if delta else "StreamAggregatedResources"
        try:
            remote = channel.call(f"{SERVICE}{method}", self._control_plane.metadata())
            stream = self._current = _Stream(call, remote, self, delta=delta)
            try:
                await stream.run()
            finally:
                if self._current is stream:
                    self._current = None
        finally:
            channel.close()


class _Stream:
    """One stream on either side."""

    def __init__(self, local: Call, remote: Call, relay: XdsRelay, *, delta: bool) -> None:
        from envoy.service.discovery.v3 import discovery_pb2

        self._local, self._remote = local, remote
        self._relay = relay
        self._figures = relay.figures
        self._own_began = False
        self._accepted: dict[str, str] = {}
        self._delta = delta
        self._request = discovery_pb2.DeltaDiscoveryRequest if delta else discovery_pb2.DiscoveryRequest
        self._response = discovery_pb2.DeltaDiscoveryResponse if delta else discovery_pb2.DiscoveryResponse
        self._over = asyncio.Event()

    def end(self) -> None:
        self._over.set()

    async def run(self) -> None:
        """Until either end has ended. Raises GrpcError with the control plane's status."""
        down = asyncio.ensure_future(self._from_control_plane())
        others = [asyncio.ensure_future(self._from_proxy()), asyncio.ensure_future(self._over.wait())]
        try:
            await asyncio.wait([down, *others], return_when=asyncio.FIRST_COMPLETED)
            self._figures.add(f"{'istiod' if down.done() else 'envoy'}_connection_terminations")
            if down.done():
                down.result()
        finally:
            for task in (down, *others):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, GrpcError):
                    await task

    async def _from_proxy(self) -> None:
        async for message in self._local:
            self._figures.add("xds_proxy_requests")
            self._remote.send(message)
            if not self._own_began and self._request.FromString(message).type_url == _LISTENERS:
                self._begin_own()

    def _begin_own(self) -> None:
        self._own_began = True
        for type_url in self._relay.uses:
            self._remote.send(self._request(type_url=type_url).SerializeToString())
        if self._relay.health is not None:
            self.tell_health(*self._relay.health)

    def tell_health(self, type_url: str, problem: str) -> None:
        if not self._own_began:
            return  # it is told when that begins
        request = self._request(type_url=type_url)
        if problem:
            request.error_detail.code = _INTERNAL
            request.error_detail.message = problem
        self._remote.send(request.SerializeToString())

    async def _from_control_plane(self) -> None:
        async for message in self._remote:
            response = self._response.FromString(message)
            use = self._relay.uses.get(response.type_url)
            if use is None:
                self._figures.add("xds_proxy_responses")
                self._local.send(message)
            else:
                self._take(response, use)

    def _take(self, response: Any, use: Use) -> None:
        """Use what is the agent's, and acknowledge or refuse it."""
        answer = self._request(type_url=response.type_url, response_nonce=response.nonce)
        try:
            use([entry.resource.value if self._delta else entry.value for entry in response.resources])
            if not self._delta:
                self._accepted[response.type_url] = response.version_info
        except Exception as error:  # protobuf's own errors have no common base that is public
            self._relay.log.warning("refused what the control plane says", type=response.type_url, error=str(error))
            answer.error_detail.code = _INTERNAL
            answer.error_detail.message = str(error)
        if not self._delta:
            answer.version_info = self._accepted.get(response.type_url, "")
        self._remote.send(answer.SerializeToString())
