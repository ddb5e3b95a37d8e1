"""What two sidecars of Istio say of themselves on a TCP connection, before the first byte of its application.

Where both ends agreed by ALPN on the protocol (`istio-peer-exchange`), each sends a magic number, a length, and an
`Any` with a `Struct` about itself (istio/proxy: metadata_exchange_initial_header.h). It must not reach the application.
Who a peer claims to be goes into metrics and logs; no policy may rest on it.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from meshproxy.plugin.workload import Workload, from_struct, to_struct

PEER_HEADER, PEER_ID_HEADER = "x-envoy-peer-metadata", "x-envoy-peer-metadata-id"
_MAGIC = 0x3D230467.to_bytes(4, "big")
_HEAD = 8
_LONGEST = 1 << 20
_LONGEST_REMEMBERED = 1 << 13
_STRUCT = "type.googleapis.com/google.protobuf.Struct"


def own_part(node_id: str, metadata: Mapping[str, Any], more_labels: Collection[str] = ()) -> bytes:
    """What we say of ourselves. metadata: of our node."""
    told: dict[str, Any] = {PEER_HEADER: Workload.of_metadata(metadata, more_labels).metadata()}
    if node_id:
        told[PEER_ID_HEADER] = node_id
    message = AnyMessage(type_url=_STRUCT, value=to_struct(told)).SerializeToString(deterministic=True)
    return _MAGIC + len(message).to_bytes(4, "big") + message


class TooLong(Exception):
    """The peer says more than anybody has to say of himself."""


class PeerPart:
    """Takes the peer's part off the front of what it sends.

    told: there was one. workload: who the peer says that it is, None if it said nothing that can be read.
    """

    __slots__ = ("_held", "_labels", "over", "told", "workload")

    def __init__(self, more_labels: Collection[str] = ()) -> None:
        self._held = b""
        self._labels = more_labels
        self.workload: Workload | None = None
        self.over = self.told = False

    def feed(self, data: bytes, end: bool = False) -> bytes:
        """What of the bytes so far is the application's; `over` says that all further ones are. end: these were the
        last. Raises TooLong."""
        held = self._held + data
        if held[:4] != _MAGIC[: len(held)]:  # the peer tells nothing after all
            self.over = True
            return held
        size = _HEAD + int.from_bytes(held[4:8], "big")
        if size > _LONGEST:
            raise TooLong
        if len(held) < _HEAD or len(held) < size:
            self.over = end
            self._held = held
            return held if end else b""
        self.over = self.told = True
        read = _remembered if size <= _LONGEST_REMEMBERED else _read
        self.workload = read(bytes(held[_HEAD:size]), tuple(self._labels))
        return held[size:]


def _read(message: bytes, more_labels: tuple[str, ...]) -> Workload | None:
    try:
        told = from_struct(AnyMessage.FromString(message).value)
    except DecodeError:
        return None
    metadata = (told or {}).get(PEER_HEADER)
    return Workload.of_metadata(metadata, more_labels) if isinstance(metadata, dict) else None


_remembered = functools.lru_cache(maxsize=500)(_read)
"""Peers are few: the same one is the same object."""
