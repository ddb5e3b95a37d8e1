"""A gRPC probe of the application: `grpc.health.v1.Health/Check`, as the kubelet makes it.

The two messages of the gRPC health checking protocol have one field each, so they are written and read here by hand: a
`HealthCheckRequest` is the service's name as field 1, a `HealthCheckResponse` the status as field 1; 1 is SERVING.
"""

from __future__ import annotations

from meshproxy.agent.grpc.grpc_call import GrpcError
from meshproxy.agent.grpc.grpc_channel import Channel

CHECK = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"


async def check_health(host: str, port: int, service: str, timeout: float) -> str:
    """ "" if the service serves, else why not. timeout: seconds for all of it."""
    try:
        channel = await Channel.connect(host, port, timeout=timeout)
    except GrpcError as error:
        return error.message
    try:
        answer = await channel.unary(CHECK, _request(service), timeout=timeout)
    except GrpcError as error:
        return str(error)
    finally:
        channel.close()
    return "" if answer == _SERVING else "the service says that it doesn't serve"


def _request(service: str) -> bytes:
    name = service.encode()
    return b"\x0a" + _varint(len(name)) + name if name else b""


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
