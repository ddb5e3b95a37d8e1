"""From the resources of a response to `Resource`s, as a whole or not at all.

A resource stands in the response as it is, or wrapped into `envoy.service.discovery.v3.Resource`, which adds a name, a
version, other names and a time to live. One that is wrapped and empty is a heartbeat: what is held is still good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError as ParseError

from meshproxy.model.discovery import TYPE_PREFIX, Resource
from meshproxy.xds.types import DISCOVERY, RESOURCE_TYPES
from meshproxy.xds.watch import DecodeError, Decoder

_WRAPPER = f"{TYPE_PREFIX}{DISCOVERY}Resource"
_MESSAGE_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Decoded:
    """One entry of a response. empty: nothing is in it but a name; then the resource's message is None."""

    resource: Resource
    aliases: tuple[str, ...] = ()
    empty: bool = False


def shorten(message: str) -> str:
    """An error as it may go into a status: a server mustn't be sent its own response back."""
    return message if len(message) <= _MESSAGE_LIMIT else f"{message[:_MESSAGE_LIMIT]}...(truncated)"


def name_of(type_url: str, message: Any) -> str:
    """A resource's name, which stands in the message itself."""
    kind = RESOURCE_TYPES.get(type_url)
    return str(getattr(message, kind.name_field if kind is not None else "name", ""))


def decode_response(response: Any, wrapper: Any, decoder: Decoder) -> list[Decoded]:
    """Every resource of a `DiscoveryResponse`. Raises DecodeError.

    wrapper: the class of `envoy.service.discovery.v3.Resource`.
    """
    type_url: str = response.type_url
    version: str = response.version_info
    decoded = []
    for packed in response.resources:
        if packed.type_url == _WRAPPER:
            wrapped = wrapper()
            try:
                wrapped.ParseFromString(packed.value)
            except ParseError:
                raise DecodeError(f"Unable to unpack as {DISCOVERY}Resource") from None
            decoded.append(decode_wrapped(wrapped, response, decoder, version))
        elif packed.type_url != type_url:
            raise DecodeError(_mismatch(packed.type_url, response))
        else:
            message, checked = decoder(type_url, packed.value)
            decoded.append(Decoded(Resource(name_of(type_url, message), version, message, checked=checked)))
    return decoded


def decode_wrapped(wrapped: Any, response: Any, decoder: Decoder, version: str = "") -> Decoded:
    """A wrapped resource. version: of the response, for one that has none of its own. Raises DecodeError."""
    ttl = wrapped.ttl.seconds + wrapped.ttl.nanos / 1e9 if wrapped.HasField("ttl") else None
    aliases = tuple(wrapped.aliases)
    own = wrapped.version or version
    if not wrapped.HasField("resource"):
        return Decoded(Resource(wrapped.name, own, None, ttl=ttl), aliases, empty=True)
    if wrapped.resource.type_url != response.type_url:
        raise DecodeError(_mismatch(wrapped.resource.type_url, response))
    message, checked = decoder(response.type_url, wrapped.resource.value)
    name = wrapped.name or name_of(response.type_url, message)
    return Decoded(Resource(name, own, message, ttl=ttl, checked=checked), aliases)


def _mismatch(found: str, response: Any) -> str:
    """Envoy's words, which name the response itself."""
    wanted = response.type_url
    if response.DESCRIPTOR.name == "DeltaDiscoveryResponse":
        start = f"type URL {found} embedded in an individual Any does not match the message-wide type URL"
        return f"{start} {wanted} in DeltaDiscoveryResponse {response}"
    return f"{found} does not match the message-wide type URL {wanted} in DiscoveryResponse {response}"
