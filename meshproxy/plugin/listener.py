"""Listener filters: they look at a connection before a filter chain is chosen for it.

They see the first bytes by peeking (MSG_PEEK), so that nothing is consumed that the transport socket needs; one that
must take bytes off the stream (PROXY protocol) says how many.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from meshproxy.plugin.context import FactoryContext
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

C = TypeVar("C")


@dataclass(slots=True)
class Socket:
    """What listener filters find out about an accepted connection. Addresses are (ip, port).

    local: where the client was going; a filter that restores it also sets `local_restored`.
    direct_local, direct_remote: the two ends of the socket.
    kernel_destination: what the kernel remembers of an address it rewrote (SO_ORIGINAL_DST), or None.
    listening_port: of the socket that accepted; 0 for a Unix socket.
    proxy_tlvs: entries of a PROXY protocol header that are to be passed on, None if there was no header.
    upstream_source: the IP address that connections to upstreams are made from for this client, and the mark of their
    packets, 0 for none; None: as the cluster has it.
    application_protocols: ALPN, or what the HTTP inspector recognised.
    ja3, ja4: fingerprints of the TLS client, if they were asked for.
    internal: "envoy://listener/endpoint" for a connection within this program; its addresses are "" until a filter
    restores them. filter_state, shared_state: what such a connection brought along; see `StreamInfo`.
    """

    local: tuple[str, int]
    remote: tuple[str, int]
    direct_local: tuple[str, int]
    direct_remote: tuple[str, int]
    kernel_destination: tuple[str, int] | None = None
    listening_port: int = 0
    local_restored: bool = False
    transport_protocol: str = ""
    server_name: str = ""
    application_protocols: tuple[str, ...] = ()
    ja3: str = ""
    ja4: str = ""
    metadata: dict[str, dict[str, Any]] | None = None
    proxy_tlvs: tuple[tuple[int, bytes], ...] | None = None
    upstream_source: tuple[str, int] | None = None
    internal: str = ""
    filter_state: dict[str, object] | None = None
    shared_state: dict[str, bool] | None = None


@dataclass(frozen=True, slots=True)
class Peeked:
    """A listener filter's verdict on the first bytes. consume: how many of them to take off the stream."""

    consume: int = 0


NEED_MORE = Peeked(-1)
"""The bytes so far don't decide it."""


class RefuseConnection(Exception):
    """Raised by a listener filter: close this connection. The text goes into the log and the details."""


class ListenerFilter(Generic[C]):
    """Base class of listener filters; one instance serves one connection.

    max_peek: how many bytes `on_peek` may need; 0: it isn't called.
    """

    config_type: ClassVar[type[Any] | None] = None
    max_peek: ClassVar[int] = 0

    def __init__(self, config: C, context: FactoryContext) -> None:
        self.config = config
        self.context = context

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> C:
        """Turn the filter's message into what its instances use; runs once. Raises ConfigError."""
        view.fail(f"{cls.__name__} takes its configuration as a TypedStruct")

    @classmethod
    def compile_struct(cls, config: Any, context: FactoryContext) -> C:
        """`compile` for a filter with a `config_type`: `config` is one, read and checked.

        What this returns all instances share: the place for counters, tables and caches. Raises ValueError for values
        that can't be used together.
        """
        return cast("C", config)

    def on_accept(self, socket: Socket) -> Awaitable[None] | None:
        """The connection was accepted. Raise RefuseConnection to close it."""

    def on_peek(self, data: bytes, end: bool, socket: Socket) -> Peeked:
        """The first bytes, at most `max_peek`; called again with more after NEED_MORE. `end`: no more will come."""
        return Peeked()
