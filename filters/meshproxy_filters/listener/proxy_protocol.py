"""`envoy.filters.listener.proxy_protocol`: who the client is and where it was going, as the sender before us says.

The header is consumed; everything behind it stays. A connection without one is refused unless the configuration
allows it: whoever could leave the header out could be anybody. The destination it names counts as a restored original
destination, as in Envoy, when it isn't the address of the socket itself.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar, NoReturn

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.listener import NEED_MORE, ListenerFilter, Peeked, RefuseConnection, Socket
from meshproxy.plugin.stats import Counter, StatsScope
from meshproxy.records import dataclass
from meshproxy_filters.listener.proxy_header import MAX_PROXY_HEADER, ProxyHeader, ProxyVerdict, read_proxy_header

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_DEFAULT_NAMESPACE = "envoy.filters.listener.proxy_protocol"
_VERSIONS = {"V1": 1, "V2": 2}
_NOT_UTF8 = {0xDC80 + byte: "!" for byte in range(128)}


class ProxyProtocolStats:
    """`proxy_proto.[<stat_prefix>.]` (Envoy: "Proxy Protocol statistics")."""

    def __init__(self, scope: StatsScope) -> None:
        self.not_found_allowed = scope.counter("not_found_allowed")
        self.not_found_disallowed = scope.counter("not_found_disallowed")
        self.found = {version: scope.counter(f"versions.v{version}.found") for version in (1, 2)}
        self.disallowed = {version: scope.counter(f"versions.v{version}.disallowed") for version in (1, 2)}
        self.error = {version: scope.counter(f"versions.v{version}.error") for version in (1, 2)}


@dataclass(frozen=True, slots=True, eq=False)
class ProxyProtocolConfig:
    """rules: TLV type -> namespace and key of the connection's metadata.

    kept: types of TLVs that may be passed on to an upstream, None for all.
    """

    stats: ProxyProtocolStats
    optional: bool = False
    disallowed: frozenset[int] = frozenset()
    rules: dict[int, tuple[str, str]] = field(default_factory=dict)
    kept: frozenset[int] | None = frozenset()


class ProxyProtocol(ListenerFilter[ProxyProtocolConfig]):
    """Takes the header off the stream and its addresses for the connection's."""

    max_peek: ClassVar[int] = MAX_PROXY_HEADER

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> ProxyProtocolConfig:
        if view.enum("tlv_location") != "DYNAMIC_METADATA":
            view.fail("TLVs can be put into dynamic metadata only", "tlv_location")
        rules = {}
        for rule in view.views("rules"):
            pair = rule.view("on_tlv_present")
            tlv_type = rule.integer("tlv_type")
            if not 0 <= tlv_type <= 255:
                rule.fail(f"{tlv_type} is no type of a TLV: one byte", "tlv_type")
            if pair is not None:
                rules[tlv_type] = pair.text("metadata_namespace") or _DEFAULT_NAMESPACE, pair.text("key")
        prefix = view.text("stat_prefix")
        disallowed = frozenset(_VERSIONS[version] for version in view.enums("disallowed_versions"))
        if len(disallowed) == len(_VERSIONS):
            view.fail("all versions of the header are disallowed", "disallowed_versions")
        return ProxyProtocolConfig(
            stats=ProxyProtocolStats(context.stats.scope(f"proxy_proto.{prefix}." if prefix else "proxy_proto.")),
            optional=view.boolean("allow_requests_without_proxy_protocol"),
            disallowed=disallowed,
            rules=rules,
            kept=_read_kept(view.view("pass_through_tlvs")),
        )

    def on_peek(self, data: bytes, end: bool, socket: Socket) -> Peeked:
        verdict = read_proxy_header(data)
        if isinstance(verdict, ProxyHeader):
            return self._take(verdict, socket)
        if verdict is ProxyVerdict.INVALID:
            self._refuse(self.config.stats.error[1 if data.startswith(b"P") else 2], "malformed PROXY protocol header")
        if verdict is ProxyVerdict.NEED_MORE and not end:
            return NEED_MORE
        if not self.config.optional:
            self._refuse(self.config.stats.not_found_disallowed, "no PROXY protocol header")
        self.config.stats.not_found_allowed.value += 1
        return Peeked()

    def _take(self, header: ProxyHeader, socket: Socket) -> Peeked:
        config = self.config
        if header.version in config.disallowed:
            self._refuse(config.stats.disallowed[header.version], f"PROXY protocol version {header.version}")
        config.stats.found[header.version].value += 1
        if header.source is not None and header.destination is not None:
            socket.remote = header.source
            if header.destination != socket.local:
                socket.local = header.destination
                socket.local_restored = True
        kept = config.kept
        socket.proxy_tlvs = tuple(tlv for tlv in header.tlvs if kept is None or tlv[0] in kept)
        for tlv_type, value in header.tlvs:
            if tlv_type in config.rules:
                namespace, key = config.rules[tlv_type]
                if socket.metadata is None:
                    socket.metadata = {}
                text = value.decode("utf-8", "surrogateescape").translate(_NOT_UTF8)
                socket.metadata.setdefault(namespace, {})[key] = text
        return Peeked(consume=header.length)

    @staticmethod
    def _refuse(counter: Counter, reason: str) -> NoReturn:
        counter.value += 1
        raise RefuseConnection(reason)


def _read_kept(view: ConfigView | None) -> frozenset[int] | None:
    """`ProxyProtocolPassThroughTLVs`."""
    if view is None:
        return frozenset()
    types = view.integers("tlv_type")
    return None if view.enum("match_type") == "INCLUDE_ALL" else frozenset(types)
