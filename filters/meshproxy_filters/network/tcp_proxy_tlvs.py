"""The entries that `tcp_proxy` adds to the PROXY protocol header for its upstream (`proxy_protocol_tlvs`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from meshproxy.plugin.context import FactoryContext
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshproxy.plugin.stream_info import StreamInfo
    from meshproxy.plugin.view import ConfigView

Tlv = tuple[int, bytes]
Merge = Literal["ADD_IF_ABSENT", "OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD", "APPEND_IF_EXISTS_OR_ADD"]


@dataclass(frozen=True, slots=True, eq=False)
class OwnTlvs:
    """merge: what becomes of those of a client whose connection began with a header itself."""

    entries: tuple[tuple[int, Callable[[StreamInfo], bytes]], ...]
    merge: Merge

    def merged(self, info: StreamInfo) -> tuple[Tlv, ...] | None:
        """All that the upstream is told; None: what the client said, unchanged."""
        given = info.connection.proxy_tlvs
        if given is not None and self.merge == "ADD_IF_ABSENT":
            return None
        own = tuple((kind, make(info)) for kind, make in self.entries)
        if not given:
            return own
        if self.merge == "APPEND_IF_EXISTS_OR_ADD":
            return (*given, *own)
        kinds = {kind for kind, _ in own}
        return (*own, *(tlv for tlv in given if tlv[0] not in kinds))


def read_own_tlvs(view: ConfigView, context: FactoryContext) -> OwnTlvs | None:
    """Of a `TcpProxy`. Raises ConfigError."""
    merge: Merge = view.enum("proxy_protocol_tlv_merge_policy")  # type: ignore[assignment]  # the names of the enum
    entries = tuple(
        (entry.integer("type"), context.compile_tlv_value(entry)) for entry in view.views("proxy_protocol_tlvs")
    )
    return OwnTlvs(entries, merge) if entries else None
