"""The table of names from the control plane: an ADS stream of the agent's own, for a type that isn't the proxy's.

State of the world, one subscription: the first request carries the node, every response is acknowledged, or refused
with its reason while the last good table stays. The stream is begun again after a while that grows, with what is known
kept.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from meshproxy.agent.grpc_call import GrpcError
from meshproxy.agent.grpc_channel import Channel
from meshproxy.agent.istio_messages import NAME_TABLE_TYPE, NameTableMessage
from meshproxy.agent.settings import AgentSettings
from meshproxy.plugin.context import Logger

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0

Use = Callable[[Mapping[str, Mapping[str, Any]]], None]


def table_of(message: Any) -> dict[str, dict[str, Any]]:
    """A `NameTable` as the mapping that its JSON has."""
    return {
        host: {
            "ips": list(info.ips),
            "registry": info.registry,
            "shortname": info.shortname,
            "namespace": info.namespace,
        }
        for host, info in message.table.items()
    }


async def follow_names(settings: AgentSettings, certificates: Path | None, use: Use, log: Logger) -> None:
    """Receive tables until cancelled. certificates: the directory of ours, None for a plain connection.

    use: takes a table, or raises ValueError.
    """
    wait = _FIRST_WAIT
    rng = random.Random()
    while True:
        try:
            channel = await _connect(settings, certificates)
            try:
                async for _ in _receive(channel, settings, use, log):
                    wait = _FIRST_WAIT
            finally:
                channel.close()
        except (GrpcError, OSError, ssl.SSLError) as error:
            log.debug("names", error=str(error))
        await asyncio.sleep(wait * rng.uniform(0.5, 1.0))
        wait = min(wait * 2, _LONGEST_WAIT)


async def _connect(settings: AgentSettings, certificates: Path | None) -> Channel:
    address = settings.discovery_address
    if address.startswith(("unix:", "/", ".")):
        return await Channel.connect(address.removeprefix("unix:"), 0)
    host, _, port = address.rpartition(":")
    context = None
    if certificates is not None:
        context = ssl.create_default_context(cafile=str(certificates / "root-cert.pem"))
        context.load_cert_chain(certificates / "cert-chain.pem", certificates / "key.pem")
        context.set_alpn_protocols(["h2"])
    name = settings.variables.get("ISTIOD_SAN") or ("istiod.istio-system.svc" if host == "localhost" else host)
    return await Channel.connect(host.strip("[]"), int(port or 15012), tls=context, server_name=name)


async def _receive(channel: Channel, settings: AgentSettings, use: Use, log: Logger) -> Any:
    """Yields once for each response."""
    from envoy.service.discovery.v3 import discovery_pb2

    request = discovery_pb2.DiscoveryRequest(type_url=NAME_TABLE_TYPE)
    request.node.id = settings.node_id
    request.node.cluster = settings.service_cluster
    request.node.metadata.update(settings.metadata)
    call = channel.call(_METHOD, [("clusterid", settings.cluster_id)])
    call.send(request.SerializeToString())
    accepted = ""
    async for message in call:
        response = discovery_pb2.DiscoveryResponse.FromString(message)
        answer = discovery_pb2.DiscoveryRequest(type_url=NAME_TABLE_TYPE, response_nonce=response.nonce)
        try:
            for resource in response.resources:
                use(table_of(NameTableMessage.FromString(resource.value)))
            accepted = response.version_info
        except Exception as error:  # protobuf's own errors have no common base that is public
            log.warning("a table of names was refused", error=str(error))
            answer.error_detail.code = 13
            answer.error_detail.message = str(error)
        answer.version_info = accepted
        call.send(answer.SerializeToString())
        yield None
