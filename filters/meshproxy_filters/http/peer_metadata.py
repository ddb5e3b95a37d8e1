"""Istio's `peer_metadata` for HTTP: two sidecars tell each other in headers who they are.

The caller's adds `x-envoy-peer-metadata` to requests and takes it off responses, the called one's the other way round.
What was found is kept in the filter state as `downstream_peer` and `upstream_peer`, for metrics, expressions and logs.
Anybody can claim to be anyone there, as in Istio: it is no ground for a policy (istio/proxy, peer_metadata).

Theory. Peers are few and their headers long, so what was read is remembered by the header's text. What isn't there is
cheap: a response or request of somebody else costs two look-ups.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders, check_value
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.peer_exchange import PEER_HEADER, PEER_ID_HEADER
from meshproxy.plugin.workload import DOWNSTREAM_PEER, UPSTREAM_PEER, Peer, Workload, from_struct, to_struct
from meshproxy.records import dataclass

_BAGGAGE = "baggage"
_MOST_PEERS = 500
_EXTERNAL = "PassthroughCluster"

Find = Callable[[Headers, Stream], Peer | None]


@dataclass(frozen=True, slots=True)
class IstioHeaders:
    skip_external_clusters: bool = False


@dataclass(frozen=True, slots=True)
class UpstreamFilterState:
    peer_metadata_key: str = ""


@dataclass(frozen=True, slots=True)
class Discovery:
    """One way to learn who the peer is; workload_discovery needs a list of workloads that nothing here is sent."""

    istio_headers: IstioHeaders | None = None
    workload_discovery: dict[str, Any] | None = None
    baggage: dict[str, Any] | None = None
    upstream_filter_state: UpstreamFilterState | None = None


@dataclass(frozen=True, slots=True)
class Propagation:
    """One way to tell it."""

    istio_headers: IstioHeaders | None = None
    baggage: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PeerMetadataConfig:
    """`io.istio.http.peer_metadata.Config`."""

    downstream_discovery: tuple[Discovery, ...] = ()
    upstream_discovery: tuple[Discovery, ...] = ()
    downstream_propagation: tuple[Propagation, ...] = ()
    upstream_propagation: tuple[Propagation, ...] = ()
    shared_with_upstream: bool = False
    additional_labels: tuple[str, ...] = ()


class _HeaderReader:
    """Reads peers from headers; remembers them by the text."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._known: dict[str, Peer | None] = {}

    def find(self, headers: Headers, stream: Stream) -> Peer | None:
        text = headers.get(PEER_HEADER)
        if not text:
            return None
        if text in self._known:
            return self._known[text]
        if len(self._known) >= _MOST_PEERS:
            for old in list(self._known)[: _MOST_PEERS // 4]:
                del self._known[old]
        found = self._known[text] = self._read(text)
        return found

    def _read(self, text: str) -> Peer | None:
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            data = b""  # as Envoy's decoder has it
        metadata = from_struct(data)
        return None if metadata is None else Peer(Workload.of_metadata(metadata, self._labels))


def _from_baggage(headers: Headers, stream: Stream) -> Peer | None:
    text = headers.get(_BAGGAGE)
    return Peer(Workload.of_baggage(text)) if text else None


@dataclass(frozen=True, slots=True)
class _Told:
    """What is told in one direction. headers: of Istio, with `skip_external` where somebody outside isn't to know."""

    headers: bool
    skip_external: bool
    baggage: str


class _Exchange:
    """The compiled configuration."""

    __slots__ = ("from_request", "from_response", "own", "own_id", "shared", "strips", "to_client", "to_host")

    def __init__(self, config: PeerMetadataConfig, context: FactoryContext) -> None:
        own = Workload.of_metadata(context.node.metadata, config.additional_labels)
        check_value(context.node.id)
        self.own = base64.b64encode(to_struct(own.metadata())).decode()
        self.own_id = context.node.id
        self.shared = config.shared_with_upstream
        reader = _HeaderReader(config.additional_labels)
        self.from_request = _finders(config.downstream_discovery, reader, downstream=True)
        self.from_response = _finders(config.upstream_discovery, reader, downstream=False)
        ways = config.downstream_discovery, config.upstream_discovery
        self.strips = tuple(any(way.istio_headers is not None for way in some) for some in ways)
        self.to_host = _told(config.upstream_propagation, own)
        self.to_client = _told(config.downstream_propagation, own)

    def discover(self, headers: Headers, stream: Stream, finders: tuple[Find, ...], key: str) -> None:
        for find in finders:
            peer = find(headers, stream)
            if peer is not None:
                if not stream.filter_state or key not in stream.filter_state:
                    for name, value in peer.under(key).items():
                        stream.set_filter_state(name, value)
                        if self.shared:
                            stream.share_filter_state(name, further=False)
                return

    def tell(self, headers: Headers, stream: Stream, told: _Told, *, metadata: bool = True, name: bool = True) -> None:
        if told.headers and not _leaves_alone(stream, told.skip_external):
            if name:
                _replace(headers, PEER_ID_HEADER, self.own_id)
            if metadata:
                _replace(headers, PEER_HEADER, self.own)
        if told.baggage:
            _replace(headers, _BAGGAGE, told.baggage)


def _finders(ways: Sequence[Discovery], reader: _HeaderReader, *, downstream: bool) -> tuple[Find, ...]:
    found: list[Find] = []
    for way in ways:
        if way.istio_headers is not None:
            found.append(reader.find)
        elif way.baggage is not None and downstream:
            found.append(_from_baggage)
        elif way.upstream_filter_state is not None and not downstream:
            found.append(_in_upstream_state(way.upstream_filter_state.peer_metadata_key))
    return tuple(found)


def _in_upstream_state(key: str) -> Find:
    def find(headers: Headers, stream: Stream) -> Peer | None:
        state = stream.upstream_filter_state
        found = state.get(key) if state else None
        return found if isinstance(found, Peer) else None

    return find


def _told(ways: Sequence[Propagation], own: Workload) -> _Told | None:
    headers = [way.istio_headers for way in ways if way.istio_headers is not None]
    baggage = own.baggage() if any(way.baggage is not None for way in ways) else ""
    if not headers and not baggage:
        return None
    check_value(baggage)
    return _Told(bool(headers), all(way.skip_external_clusters for way in headers), baggage)


def _leaves_alone(stream: Stream, skip_external: bool) -> bool:
    """Whether the cluster is somebody's who isn't to be told."""
    cluster = stream.clusters.get(stream.cluster_name)
    if cluster is None:
        return False
    istio = cluster.config.metadata.get("istio")
    marks: Mapping[str, Any] = istio if isinstance(istio, Mapping) else {}
    if skip_external and (cluster.config.name == _EXTERNAL or marks.get("external") is True):
        return True
    return marks.get("disable_mx") is True


class PeerMetadata(HttpFilter[_Exchange]):
    """See the module. An instance knows whether the client has told who it is: only then it is told, too."""

    config_type: ClassVar[type[Any] | None] = PeerMetadataConfig

    _named: bool = False
    _described: bool = False

    @classmethod
    def compile_struct(cls, config: PeerMetadataConfig, context: FactoryContext) -> _Exchange:
        return _Exchange(config, context)

    @classmethod
    def for_config(cls, config: _Exchange) -> type[HttpFilter[_Exchange]]:
        return cls if config.to_client is not None else _TowardsHosts

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        config = self.config
        if config.strips[0]:
            self._named, self._described = PEER_ID_HEADER in request, PEER_HEADER in request
        _discover_client(config, request, stream)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        config = self.config
        _discover_host(config, response, stream)
        if config.to_client is not None:
            config.tell(response, stream, config.to_client, metadata=self._described, name=self._named)


class _TowardsHosts(HttpFilter[_Exchange]):
    """The same where the client isn't told anything."""

    stateless: ClassVar[bool] = True

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        _discover_client(self.config, request, stream)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        _discover_host(self.config, response, stream)


def _discover_client(config: _Exchange, request: RequestHeaders, stream: Stream) -> None:
    if config.from_request:
        config.discover(request, stream, config.from_request, DOWNSTREAM_PEER)
    if config.strips[0]:
        _strip(request)
    if config.to_host is not None:
        config.tell(request, stream, config.to_host)


def _discover_host(config: _Exchange, response: ResponseHeaders, stream: Stream) -> None:
    if config.from_response:
        config.discover(response, stream, config.from_response, UPSTREAM_PEER)
    if config.strips[1]:
        _strip(response)


def _replace(headers: Headers, name: str, value: str) -> None:
    """A value that is known to be well formed."""
    headers.remove(name)
    headers.append_checked(name, value)


def _strip(headers: Headers) -> None:
    headers.remove(PEER_HEADER)
    headers.remove(PEER_ID_HEADER)
