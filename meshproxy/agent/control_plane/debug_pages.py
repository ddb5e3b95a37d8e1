"""What the control plane says of itself, asked by way of the agent: `/debug/syncz` and its like on a port of the pod.

`istioctl ... --xds-via-agents` asks here. Each question is a stream of its own, for the type `istio.io/debug/...`, with
the proxy's node; the answer is the response as JSON.
"""

from __future__ import annotations

import asyncio

from google.protobuf.json_format import MessageToDict

from meshproxy.agent.control_plane.control_plane import ControlPlane
from meshproxy.agent.control_plane.xds_relay import SERVICE
from meshproxy.agent.grpc.grpc_call import GrpcError
from meshproxy.agent.http import Reply, Request, json_reply, text_reply
from meshproxy.agent.settings import AgentSettings

_WITHIN = 5.0


class DebugPages:
    """`handle` answers requests."""

    def __init__(self, settings: AgentSettings, control_plane: ControlPlane) -> None:
        self._settings = settings
        self._control_plane = control_plane

    async def handle(self, request: Request) -> Reply:
        if not request.path.startswith("/debug/"):
            return text_reply("not found\n", 404)
        try:
            async with asyncio.timeout(_WITHIN):
                return await self._ask(f"istio.io{request.path}", request.query.get("resourceName", ""))
        except TimeoutError:
            return text_reply(f"no answer within {_WITHIN:g} s\n", 503)
        except (GrpcError, OSError) as error:
            return text_reply(f"{error}\n", 503)

    async def _ask(self, type_url: str, resource: str) -> Reply:
        from envoy.service.discovery.v3 import discovery_pb2

        request = discovery_pb2.DiscoveryRequest(type_url=type_url, resource_names=[resource] if resource else [])
        request.node.id = self._settings.node_id
        request.node.cluster = self._settings.service_cluster
        request.node.metadata.update(self._settings.metadata)
        channel = await self._control_plane.connect()
        try:
            call = channel.call(f"{SERVICE}StreamAggregatedResources", self._control_plane.metadata())
            call.send(request.SerializeToString())
            async for message in call:
                response = discovery_pb2.DiscoveryResponse.FromString(message)
                return json_reply(
                    {
                        "versionInfo": response.version_info,
                        "typeUrl": response.type_url,
                        "nonce": response.nonce,
                        "resources": [_shown(entry) for entry in response.resources],
                    }
                )
        finally:
            channel.close()
        return text_reply("the control plane said nothing\n", 503)


def _shown(resource: object) -> object:
    """A resource whose message nobody here knows is told by its bytes."""
    try:
        return MessageToDict(resource)  # type: ignore[arg-type]  # an Any of protobuf
    except (TypeError, KeyError):
        return {"@type": resource.type_url, "value": resource.value.decode("utf-8", "replace")}  # type: ignore[attr-defined]  # as above
