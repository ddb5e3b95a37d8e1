"""How `tcp_proxy` narrows down which host a connection goes to: a hash for RING_HASH and MAGLEV, metadata for subsets.

(envoy.type.v3.HashPolicy; `metadata_match` of envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshproxy.hashing import xxhash64
from meshproxy.plugin.stream_info import HashableString, StreamInfo

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

HashOf = Callable[[StreamInfo], int | None]


def read_hash_policy(views: Sequence[ConfigView]) -> HashOf | None:
    """`hash_policy`, of which there is at most one; None without. Raises ConfigError."""
    for view in views:
        if view.which("policy_specifier") == "filter_state":
            return _by_state(view.required("filter_state").text("key"))
        view.required("source_ip")
        return _by_source
    return None


def _by_source(info: StreamInfo) -> int | None:
    ip = info.connection.remote_ip
    return xxhash64(ip.encode("latin-1")) if ip else None


def _by_state(key: str) -> HashOf:
    def hash_of(info: StreamInfo) -> int | None:
        value = info.filter_state.get(key) if info.filter_state is not None else None
        return xxhash64(value.encode("latin-1", "replace")) if isinstance(value, HashableString) else None

    return hash_of


def read_metadata_match(view: ConfigView) -> Mapping[str, Any] | None:
    """What hosts must have in their metadata under `envoy.lb`; None for nothing."""
    metadata = view.view("metadata_match")
    if metadata is None:
        return None
    wanted = metadata.struct_map("filter_metadata").get("envoy.lb")
    return wanted.value if wanted is not None else None
