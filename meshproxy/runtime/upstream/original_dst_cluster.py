"""ORIGINAL_DST clusters: a request goes to the address that its client was going to, or that it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshproxy.address import SocketAddress, parse_address
from meshproxy.balance.host import Host
from meshproxy.model.endpoint import Endpoint
from meshproxy.plugin.context import Timer
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import ORIGINAL_DST_ADDRESS, HostChoice
from meshproxy.runtime.upstream.cluster import ActiveCluster


class OriginalDstCluster(ActiveCluster):
    """Hosts are the addresses that connections were going to (`ORIGINAL_DST`), made when they are first needed.

    A host that nothing was sent to for `cleanup_interval` is forgotten with its connections. As in Envoy they belong to
    no locality, so load reports don't tell of them.
    """

    has_localities = False

    def start(self) -> None:
        self._cleaning: Timer
        self._by_address: dict[SocketAddress, Host] = {}
        self._used: set[Host] = set()
        self._cleaning = self.worker.schedule(self.config.original_dst.cleanup_interval, self._clean_up)

    def hosts(self) -> list[Host]:
        return list(self._by_address.values())

    def pick(self, stream: StreamInfo, choice: HostChoice | None = None) -> Host | None:
        address = self._destination(stream)
        if address is None:
            self.stats.upstream_cx_none_healthy.inc()
            return None
        host = self._by_address.get(address)
        if host is None:
            host = self._by_address[address] = Host(Endpoint(address))
            host.cluster = self
            self.stats.membership_total.set(len(self._by_address))
            self.stats.membership_healthy.set(len(self._by_address))
            self.stats.membership_change.inc()
            self.stats.count_new_hosts(1)
        self._used.add(host)
        return host

    def _destination(self, stream: StreamInfo) -> SocketAddress | None:
        options = self.config.original_dst
        found = self._from_state(stream)
        if found is None and options.use_http_header and stream.request is not None:
            found = self._parse(stream.request.get(options.http_header_name))
        if found is None and options.metadata_key is not None:
            found = self._from_metadata(stream, options.metadata_key)
        if found is None and stream.connection.original_destination is not None:
            found = SocketAddress(*stream.connection.original_destination)
        if found is not None and options.port_override:
            found = SocketAddress(found.ip, options.port_override)
        return found

    def _from_metadata(self, stream: StreamInfo, key: tuple[str, tuple[str, ...]]) -> SocketAddress | None:
        namespace, path = key
        value: Any = (stream.dynamic_metadata or {}).get(namespace)
        for segment in path:
            value = value.get(segment) if isinstance(value, Mapping) else None
        return self._parse(value if isinstance(value, str) else None)

    def _from_state(self, stream: StreamInfo) -> SocketAddress | None:
        for state in (stream.filter_state, stream.connection.filter_state):
            if state and ORIGINAL_DST_ADDRESS in state:
                return self._parse(str(state[ORIGINAL_DST_ADDRESS]))
        return None

    def _parse(self, given: str | None) -> SocketAddress | None:
        if not given:
            return None
        try:
            return parse_address(given)
        except ValueError:
            self.stats.original_dst_host_invalid.inc()
            return None

    def _clean_up(self) -> None:
        used, self._used = self._used, set()
        for address, host in list(self._by_address.items()):
            if host not in used and not host.rq_active and not host.cx_active:
                del self._by_address[address]
                self.drop((host,))
        self.stats.membership_total.set(len(self._by_address))
        self.stats.membership_healthy.set(len(self._by_address))
        self._cleaning = self.worker.schedule(self.config.original_dst.cleanup_interval, self._clean_up)

    def stop(self) -> None:
        self._cleaning.cancel()
        super().stop()
