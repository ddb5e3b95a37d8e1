"""Which source a configuration means, when it is a management server.

The aggregated service (`ads`) is one stream for everything. Every other subscription over gRPC has a stream of its own,
and over REST its own polls, as in Envoy: a server for one type may count on hearing of one subscription only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from meshproxy.model.discovery import ConfigSource
from meshproxy.model.grpc_service import ApiSource
from meshproxy.runtime.discovery.rest_source import RestSource
from meshproxy.runtime.discovery.sources import Host, Sink, Source, Subscription
from meshproxy.runtime.discovery.stream_source import OpenStream, StreamSource
from meshproxy.xds.mux import Pause, Watch
from meshproxy.xds.types import ADS_DELTA, ADS_SERVICE, ADS_STREAM, RESOURCE_TYPES


class RemoteSources:
    """Makes sources (`Sources.make_remote`). ads: what the bootstrap's `ads_config` says."""

    def __init__(self, ads: ApiSource | None, open_stream: OpenStream) -> None:
        self._ads = ads
        self._open_stream = open_stream

    def __call__(self, config: ConfigSource, host: Host) -> Source:
        if config.kind == "ads":
            assert self._ads is not None  # refused when it was compiled
            method = ADS_DELTA if self._ads.kind == "delta_grpc" else ADS_STREAM
            return StreamSource(host, self._ads, f"/{ADS_SERVICE}/{method}", host.stats, self._open_stream)
        api: ApiSource = config.api
        return SingleSources(host, api, self._open_stream)


class SingleSources:
    """One management server that is asked for one type at a time."""

    def __init__(self, host: Host, api: ApiSource, open_stream: OpenStream) -> None:
        self._host = host
        self._api = api
        self._open_stream = open_stream
        self._open: dict[StreamSubscription | RestSource, None] = {}

    def subscribe(self, type_url: str, names: Sequence[str], sink: Sink) -> Subscription:
        """See `Source`."""
        subscription: StreamSubscription | RestSource
        if self._api.kind == "rest":
            subscription = RestSource(self._host, self._api, type_url, names, sink, self._closed)
            self._open[subscription] = None
            return subscription
        kind = RESOURCE_TYPES[type_url]
        method = kind.delta if self._api.kind == "delta_grpc" else kind.stream
        source = StreamSource(self._host, self._api, f"/{kind.service}/{method}", sink.scope, self._open_stream)
        subscription = StreamSubscription(source, self._closed)
        self._open[subscription] = None
        subscription.watch = source.subscribe(type_url, names, sink)
        return subscription

    def _closed(self, subscription: StreamSubscription | RestSource) -> None:
        self._open.pop(subscription, None)

    def pause(self, *_: str) -> Pause:
        """Nothing: there is nobody to wait for on a stream of one's own."""
        return Pause([])

    def close(self) -> None:
        """See `Source`."""
        for subscription in list(self._open):
            subscription.close()

    def describe(self) -> dict[str, Any]:
        """See `Source`."""
        return {
            "kind": self._api.kind,
            "cluster": self._api.cluster,
            "subscriptions": [subscription.describe() for subscription in self._open],
        }


class StreamSubscription:
    """A subscription with a stream of its own, which ends with it."""

    def __init__(self, source: StreamSource, when_closed: Callable[[StreamSubscription], None]) -> None:
        self._source = source
        self._when_closed = when_closed
        self.watch: Watch | None = None

    def close(self) -> None:
        """See `Subscription`."""
        self._source.close()
        if self.watch is not None:
            self.watch.close()
        self._when_closed(self)

    def describe(self) -> dict[str, Any]:
        """What there is to know of it."""
        return self._source.describe()
