"""From the resources of a response to `Resource`s, as a whole or not at all.

What was unpacked before is known by its bytes and taken as it is: a server that sends everything again, because of one
change, is read for that change only.

A resource stands in the response as it is, or wrapped into `envoy.service.discovery.v3.Resource`, which adds a name, a
version, other names and a time to live. One that is wrapped and empty is a heartbeat: what is held is still good.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError as ParseError

from meshproxy.model.discovery import TYPE_PREFIX, Resource
from meshproxy.records import dataclass
from meshproxy.steps import Steps
from meshproxy.xds.types import DISCOVERY, RESOURCE_TYPES
from meshproxy.xds.watch import DecodeError, Decoder, Unpacked

_WRAPPER = f"{TYPE_PREFIX}{DISCOVERY}Resource"
_MESSAGE_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Decoded:
    """One entry of a response. empty: nothing is in it but a name; then the resource's message is None.

    packed, unpacked: its bytes, and what came of them.
    """

    resource: Resource
    aliases: tuple[str, ...] = ()
    empty: bool = False
    packed: bytes = b""
    unpacked: Unpacked | None = None


class Unpacker:
    """Resources of one type from their bytes, each unpacked once for as long as it is in force."""

    def __init__(self, type_url: str, decoder: Decoder) -> None:
        self._type_url = type_url
        self._decoder = decoder
        self._by_bytes: dict[bytes, Unpacked] = {}
        self._bytes: dict[str, bytes] = {}

    def unpack(self, packed: bytes) -> Steps[Unpacked]:
        """Raises DecodeError."""
        known = self._by_bytes.get(packed)
        return known or (yield from self._decoder(self._type_url, packed))

    def keep(self, name: str, packed: bytes, unpacked: Unpacked) -> None:
        """A resource is in force in this form, and in no other any more."""
        before = self._bytes.get(name)
        if before != packed:
            if before is not None:
                self._by_bytes.pop(before, None)
            self._bytes[name] = packed
            self._by_bytes[packed] = unpacked

    def forget(self, name: str) -> None:
        """It is gone."""
        packed = self._bytes.pop(name, None)
        if packed is not None:
            self._by_bytes.pop(packed, None)


def shorten(message: str) -> str:
    """An error as it may go into a status: a server mustn't be sent its own response back."""
    return message if len(message) <= _MESSAGE_LIMIT else f"{message[:_MESSAGE_LIMIT]}...(truncated)"


def name_of(type_url: str, message: Any) -> str:
    """A resource's name, which stands in the message itself."""
    kind = RESOURCE_TYPES.get(type_url)
    return str(getattr(message, kind.name_field if kind is not None else "name", ""))


def decode_response(response: Any, wrapper: Any, unpacker: Unpacker) -> Steps[list[Decoded]]:
    """Every resource of a `DiscoveryResponse`, one with each step. Raises DecodeError.

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
            decoded.append((yield from decode_wrapped(wrapped, response, unpacker, version)))
        elif packed.type_url != type_url:
            raise DecodeError(_mismatch(packed.type_url, response))
        else:
            value = packed.value
            unpacked = yield from unpacker.unpack(value)
            name = name_of(type_url, unpacked.message)
            decoded.append(Decoded(_resource(name, version, unpacked), packed=value, unpacked=unpacked))
        yield
    return decoded


def _resource(name: str, version: str, unpacked: Unpacked, ttl: float | None = None) -> Resource:
    return Resource(name, version, unpacked.message, ttl=ttl, checked=unpacked.checked, compiled=unpacked.compiled)


def decode_wrapped(wrapped: Any, response: Any, unpacker: Unpacker, version: str = "") -> Steps[Decoded]:
    """A wrapped resource. version: of the response, for one that has none of its own. Raises DecodeError."""
    ttl = wrapped.ttl.seconds + wrapped.ttl.nanos / 1e9 if wrapped.HasField("ttl") else None
    aliases = tuple(wrapped.aliases)
    own = wrapped.version or version
    if not wrapped.HasField("resource"):
        return Decoded(Resource(wrapped.name, own, None, ttl=ttl), aliases, empty=True)
    check_type(wrapped, response)
    value = wrapped.resource.value
    unpacked = yield from unpacker.unpack(value)
    name = wrapped.name or name_of(response.type_url, unpacked.message)
    return Decoded(_resource(name, own, unpacked, ttl), aliases, packed=value, unpacked=unpacked)


def check_type(wrapped: Any, response: Any) -> None:
    """Raises DecodeError for a wrapped resource that isn't of the response's type; an empty one is of none."""
    if wrapped.resource.type_url != response.type_url:
        raise DecodeError(_mismatch(wrapped.resource.type_url, response))


def _mismatch(found: str, response: Any) -> str:
    """Envoy's words, which name the response itself."""
    wanted = response.type_url
    if response.DESCRIPTOR.name == "DeltaDiscoveryResponse":
        start = f"type URL {found} embedded in an individual Any does not match the message-wide type URL"
        return f"{start} {wanted} in DeltaDiscoveryResponse {response}"
    return f"{found} does not match the message-wide type URL {wanted} in DiscoveryResponse {response}"
