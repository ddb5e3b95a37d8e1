"""A management server on a gRPC stream (`Source`): the stream, its reconnects and its limits, around a mux.

The stream is opened when somebody first subscribes, and again whenever it ends, after a jittered exponential back-off
that a response resets. All that the mux holds stays meanwhile; sinks hear that there is no connection, for their
statistics. There is never more than one stream and one timer of each kind.

A server may send faster than its responses can be used, and the loop has traffic to carry: responses are used in slices
(`pace`), large ones in steps that may be many slices apart; the others wait, and when many wait the stream isn't read.
Each is answered all the same, in its turn. A stream that ends ends for the mux when all that it sent has been used.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from google.protobuf.message import DecodeError as ParseError

from meshproxy.balance.backoff import JitteredBackoff
from meshproxy.messages.by_name import message_class
from meshproxy.model.grpc_service import ApiSource, GrpcService
from meshproxy.plugin.stats import StatsScope
from meshproxy.runtime.discovery.decoder import decode_in_steps
from meshproxy.runtime.discovery.names import nack_message
from meshproxy.runtime.discovery.pace import SLICE
from meshproxy.runtime.discovery.sources import Host, Sink
from meshproxy.runtime.process.collector import LARGE, MANY, pause_collector, resume_collector
from meshproxy.steps import Steps
from meshproxy.xds.delta import DeltaMux
from meshproxy.xds.mux import Mux, Pause, Watch
from meshproxy.xds.request_limit import RequestLimit
from meshproxy.xds.sotw import SotwMux
from meshproxy.xds.types import DISCOVERY, RESOURCE_TYPES

_UNAVAILABLE = 14
_MANY, _FEW = 64, 16


class GrpcCall(Protocol):
    """One stream to a service."""

    def send(self, message: bytes) -> None: ...

    def read_disable(self, disable: bool) -> None:
        """Stop or go on reading, so that the server has to wait."""

    def reset(self) -> None:
        """Cut it; its sink hears nothing more."""


class GrpcSink(Protocol):
    """What a stream tells."""

    def on_message(self, data: bytes) -> None: ...

    def on_closed(self, status: int, message: str) -> None:
        """It is over, or never came to be: a gRPC status and its words."""


OpenStream = Callable[[Any, GrpcService, str, GrpcSink], GrpcCall | None]
"""(host, service, path, sink) -> the stream; None when there is no way to the service now, and the sink isn't told."""


class StreamSource:
    """One stream for any number of types. path: of the method. scope: where `control_plane.*` is counted."""

    def __init__(self, host: Host, api: ApiSource, path: str, scope: StatsScope, open_stream: OpenStream) -> None:
        assert api.grpc is not None
        self._host = host
        self._api = api
        self._service = api.grpc
        self._path = path
        self._open_stream = open_stream
        delta = api.kind == "delta_grpc"
        self._response: Any = message_class(f"{DISCOVERY}{'Delta' if delta else ''}DiscoveryResponse")
        kind: type[Mux] = DeltaMux if delta else SotwMux
        decoder = host.unknown_fields.decoder(decode_in_steps)
        self._mux = kind(host.node, decoder, nack_message, host.log, self._flush, node_once=api.node_once)
        self._back_off = JitteredBackoff(self._service.retry_base, self._service.retry_max, host.rng)
        limited = api.max_requests > 0
        self._limit = RequestLimit(api.max_requests, api.fill_rate, host.loop.time()) if limited else None
        self._stream: GrpcCall | None = None
        self._opening = False
        self._retry: asyncio.TimerHandle | None = None
        self._refill: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._closed = False
        self._waiting: deque[bytes] = deque()
        self._steps: Steps[None] | None = None  # what is left of the response before those that wait
        self._ended: tuple[int, str] | None = None
        self._large = False  # the response that is used is
        self._slice: asyncio.Handle | None = None
        self._unread = False
        self._since = 0.0
        self._trouble = ""
        self._connected_state = scope.gauge("control_plane.connected_state")
        self._pending_requests = scope.gauge("control_plane.pending_requests")
        self._rate_limit_enforced = scope.counter("control_plane.rate_limit_enforced")
        self._identifier = scope.text_readout("control_plane.identifier")

    def subscribe(self, type_url: str, names: Sequence[str], sink: Sink) -> Watch:
        """See `Source`."""
        sink.attempted()
        watch = self._mux.watch(type_url, names, sink)
        if self._stream is None and self._retry is None and self._ended is None and not self._opening:
            self._open()
        return watch

    def pause(self, *type_urls: str) -> Pause:
        """Ask for nothing of these types, and acknowledge nothing, until the pause ends."""
        return self._mux.pause(*type_urls)

    def close(self) -> None:
        """See `Source`."""
        self._closed = True
        self._waiting.clear()
        self._steps = self._ended = None
        self._resume_collector()
        for timer in (self._retry, self._refill, self._expiry, self._slice):
            if timer is not None:
                timer.cancel()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.reset()
        self._connected_state.set(0)

    # The stream

    def _open(self) -> None:
        self._retry = None
        if self._closed:
            return
        self._opening = True
        stream = self._open_stream(self._host, self._service, self._path, self)
        self._opening = False
        if stream is None:
            self.on_closed(_UNAVAILABLE, f"no host of cluster '{self._api.cluster}' is there")
            return
        self._stream = stream
        self._unread = False
        self._since = self._host.clock.wall()
        self._connected_state.set(1)
        self._mux.connected()

    def on_message(self, data: bytes) -> None:
        """A response has come; it is used as soon as there is time."""
        self._waiting.append(data)
        self._plan_slice()
        if len(self._waiting) > _MANY and not self._unread and self._stream is not None:
            self._unread = True
            self._stream.read_disable(True)

    def _plan_slice(self) -> None:
        if self._slice is None:
            wait = self._host.pace.wait()
            loop = self._host.loop
            self._slice = loop.call_later(wait, self._use_some) if wait else loop.call_soon(self._use_some)

    def _use_some(self) -> None:
        """Use what waits, for a slice of time."""
        self._slice = None
        now = self._host.clock.now
        began = now()
        passed = 0.0
        while passed < SLICE and self._use_next():
            passed = now() - began
        self._host.pace.spent(passed)
        if self._steps is not None or self._waiting:
            self._plan_slice()
        elif self._ended is not None:
            ended, self._ended = self._ended, None
            self._lost(*ended)
        if self._unread and len(self._waiting) < _FEW and self._stream is not None:
            self._unread = False
            self._stream.read_disable(False)

    def _use_next(self) -> bool:
        """The next step of what has come. Returns False when there is none."""
        steps = self._steps
        if steps is None:
            if not self._waiting:
                return False
            steps = self._steps = self._begin(self._waiting.popleft())
        if steps is None:
            return True
        try:
            next(steps)
        except StopIteration:
            self._identifier.value = self._mux.identifier
            self._resume_collector()
            if not self._closed:
                self._steps = None
                self._arm_expiry()
        return True

    def _begin(self, data: bytes) -> Steps[None] | None:
        response = self._response()
        try:
            response.ParseFromString(data)
        except ParseError:
            if self._stream is not None:
                self._stream.reset()
            self.on_closed(13, "what came is no response")
            return None
        self._back_off.reset()
        self._trouble = ""
        if (len(response.resources) > MANY or len(data) > LARGE) and not self._large:
            self._large = True
            pause_collector()
        return self._mux.receive(response, self._host.loop.time())

    def _resume_collector(self) -> None:
        if self._large:
            self._large = False
            resume_collector(keep=True)

    def on_closed(self, status: int, message: str) -> None:
        """The stream is over; another one is tried after a while. What it has sent is used first."""
        self._stream = None
        self._connected_state.set(0)
        if self._steps is None and not self._waiting:
            self._lost(status, message)
        elif not self._closed:
            self._ended = status, message
            self._plan_slice()

    def _lost(self, status: int, message: str) -> None:
        self._mux.disconnected()
        if self._closed:
            return
        delay = self._back_off.next()
        trouble = f"{status} {message}"
        if trouble != self._trouble:  # a server that is away for an hour is one line, not thousands
            self._trouble = trouble
            self._host.log.warning(
                "stream of a management server closed",
                cluster=self._api.cluster,
                method=self._path.rpartition("/")[2],
                status=status,
                message=message,
            )
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        self._pending_requests.set(0)
        self._retry = self._host.loop.call_later(delay, self._open)

    def _flush(self) -> None:
        """Send what is due, as far as the limit allows."""
        mux = self._mux
        while self._stream is not None and mux.has_request:
            if self._limit is not None and not self._limit.take(self._host.loop.time()):
                if self._refill is None:
                    self._rate_limit_enforced.inc()
                    self._refill = self._host.loop.call_later(self._limit.wait(), self._refilled)
                break
            request = mux.next_request()
            assert request is not None
            self._stream.send(request.SerializeToString())
        self._pending_requests.set(mux.queued)

    def _refilled(self) -> None:
        self._refill = None
        self._flush()

    # Times to live

    def _arm_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        when = self._mux.next_expiry()
        if when is not None:
            self._expiry = self._host.loop.call_at(when, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self._mux.expire(self._host.loop.time())
        self._arm_expiry()

    def describe(self) -> dict[str, Any]:
        """See `Source`."""
        loop = self._host.loop
        connection: dict[str, Any] = {"connected": self._stream is not None}
        if self._stream is not None:
            connection["connected_since"] = self._since
        elif self._retry is not None:
            connection["retry_in_seconds"] = round(max(0.0, self._retry.when() - loop.time()), 3)
        return {
            "kind": self._api.kind,
            "cluster": self._api.cluster,
            "method": self._path,
            **connection,
            "trouble": self._trouble,
            "server": self._mux.identifier,
            "types": {_label(url): _describe_type(state) for url, state in self._mux.types.items()},
        }


def _label(type_url: str) -> str:
    kind = RESOURCE_TYPES.get(type_url)
    return kind.label if kind is not None else type_url


def _describe_type(state: Any) -> dict[str, Any]:
    return {
        "version": state.version,
        "nonce": state.nonce,
        "error": state.error,
        "paused": state.pauses > 0,
        "names": sorted(state.by_name),
        "resources": dict(sorted(state.versions.items())),
    }
