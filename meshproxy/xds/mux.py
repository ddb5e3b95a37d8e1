"""Several types of resources over one stream: what both protocols have in common.

    subscribe / close  ->  names wanted  ->  requests                 (what we ask for)
    response  ->  decoded as a whole  ->  each sink's share  ->  ACK or NACK, which is a request too

A mux has no stream and no clock. Whoever has them tells it what happened (`connected`, `receive`, `disconnected`,
`expire`) and takes its requests with `next_request` whenever `on_request` was called. Taking them one by one, as late
as the stream allows, makes each request say what is true when it leaves.

Invariants:
- every response of a type that anybody wants is answered once: accepted, or refused with the reason;
- what was received is kept when the stream ends; only nonces belong to a stream;
- a type that is paused sends nothing, ACKs included, and what is due when the last pause ends. The first request on a
  stream isn't held back: a new server has to know what is wanted, or what is waited for never comes (Envoy holds it
  back, and waits for ever for the endpoints of a cluster that is gone);
- a version is only told of what is in force: a resource that was refused leaves the version before it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from google.protobuf.message import Message

from meshproxy.model.discovery import Resource
from meshproxy.plugin.context import Logger
from meshproxy.steps import Steps, finish, in_steps, settle
from meshproxy.xds.decode import Decoded, Unpacker
from meshproxy.xds.ttl import TtlTable
from meshproxy.xds.types import DEPENDENTS, RESOURCE_TYPES, WILDCARD
from meshproxy.xds.watch import Decoder, NackMessage, Sink

_AT_ONCE = 200
INTERNAL = 13  # the gRPC status of every NACK, as Envoy's


class Watch:
    """One sink's interest (`Subscription`). names: none for everything there is."""

    __slots__ = ("_state", "closed", "names", "sink", "wants_all")

    def __init__(self, state: TypeState, sink: Sink, names: tuple[str, ...]) -> None:
        self._state = state
        self.sink = sink
        self.names = names
        self.wants_all = not names or WILDCARD in names
        self.closed = False

    def close(self) -> None:
        """Want nothing any more; the sink hears nothing more."""
        if not self.closed:
            self.closed = True
            self._state.unwatch(self)


class Pause:
    """While it lasts, nothing is asked for of some types. A context manager; `resume` ends it once."""

    def __init__(self, states: Sequence[TypeState]) -> None:
        self._states = states
        for state in states:
            state.pauses += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()

    def resume(self) -> None:
        """End it; again is harmless."""
        states, self._states = self._states, ()
        for state in states:
            state.pauses -= 1
        for state in states:
            if not state.pauses:
                state.resumed()


class TypeState(ABC):
    """One type on one stream.

    asked: it has been wanted once. versions: of every resource in force. held: the resources that are wanted by name,
    for whoever wants one later.
    version: of the last response that counts; nonce: of the last one. error: of the last one, "" when it was good.
    attempts_if_refused: so many are counted for an update that is refused.
    """

    attempts_if_refused = 1

    def __init__(self, mux: Mux, type_url: str) -> None:
        self.mux = mux
        self.type_url = type_url
        kind = RESOURCE_TYPES.get(type_url)
        self.full_state = kind is not None and kind.full_state
        self.watches: dict[Watch, None] = {}  # in the order in which they came
        self.wildcards = 0
        self.by_name: dict[str, list[Watch]] = {}
        self.versions: dict[str, str] = {}
        self.held: dict[str, Resource] = {}
        self.unpacker = Unpacker(type_url, mux.decoder)
        self.ttl = TtlTable()
        self.asked = False
        self.pauses = 0
        self.version = ""
        self.nonce = ""
        self.error = ""

    # Interest

    def watch(self, names: Sequence[str], sink: Sink) -> Watch:
        """Add a sink. What it wants and is held already, it is given at once."""
        watch = Watch(self, sink, tuple(sorted(names)))
        self.watches[watch] = None
        self.wildcards += watch.wants_all
        added = []
        for name in watch.names:
            watches = self.by_name.setdefault(name, [])
            if not watches:
                added.append(name)
            watches.append(watch)
        known = [self.held[name] for name in watch.names if name in self.held]
        self.names_changed(watch, added, [])
        if known:
            sink.attempted()
            settle(sink.update(known, [], full=False, version=self.version))
        return watch

    def unwatch(self, watch: Watch) -> None:
        """A sink wants nothing any more."""
        del self.watches[watch]
        self.wildcards -= watch.wants_all
        removed = []
        for name in watch.names:
            watches = self.by_name[name]
            watches.remove(watch)
            if not watches:
                del self.by_name[name]
                self._forget(name)
                removed.append(name)
        if not watch.names and all(other.names for other in self.watches):
            removed.append(WILDCARD)
        self.names_changed(watch, [], removed)

    def _forget(self, name: str) -> None:
        self.held.pop(name, None)
        self.ttl.forget(name)
        self.unpacker.forget(name)

    def wants(self, name: str, aliases: Iterable[str]) -> bool:
        """Whether somebody asked for a resource with this name or one of these, or for all."""
        return bool(self.wildcards) or name in self.by_name or any(alias in self.by_name for alias in aliases)

    # Delivery

    def deliver(
        self, changed: Sequence[Decoded], removed: Sequence[str], version: str, *, tell_all: bool
    ) -> Steps[dict[str, str]]:
        """Give each sink its share, one sink with each step. Returns why resources were refused, by their names.

        tell_all: whether a sink of everything hears of an update in which there is nothing.
        """
        shares: dict[Watch, tuple[dict[str, Resource], list[str]]] = {}
        resources = [decoded.resource for decoded in changed]
        errors: dict[str, str] = {}
        with self.mux.pause(*DEPENDENTS.get(self.type_url, ())):
            if self.wildcards and (tell_all or resources or removed):
                for watch in [watch for watch in self.watches if watch.wants_all]:
                    errors.update((yield from self._give(watch, resources, removed, version)))
            for decoded in changed:
                for name in (decoded.resource.name, *decoded.aliases):
                    for watch in self.by_name.get(name, ()):
                        share, _ = shares.setdefault(watch, ({}, []))
                        share.setdefault(decoded.resource.name, decoded.resource)
            for name in removed:
                for watch in self.by_name.get(name, ()):
                    shares.setdefault(watch, ({}, []))[1].append(name)
            for watch, (share, gone) in shares.items():
                if not watch.wants_all and not watch.closed:
                    errors.update((yield from self._give(watch, list(share.values()), gone, version)))
                    yield
        return errors

    def _give(
        self, watch: Watch, resources: Sequence[Resource], removed: Sequence[str], version: str
    ) -> Steps[Mapping[str, str]]:
        errors = yield from in_steps(watch.sink.update(resources, removed, full=False, version=version))
        for _ in range(self.attempts_if_refused if errors else 1):
            watch.sink.attempted()
        return errors

    def note(
        self,
        changed: Sequence[Decoded],
        renewed: Sequence[Decoded],
        removed: Iterable[str],
        errors: Mapping[str, str],
        now: float,
    ) -> Steps[None]:
        """Remember what is in force after a delivery. renewed: what is held goes on living."""
        for index, decoded in enumerate(changed):
            if index % _AT_ONCE == _AT_ONCE - 1:
                yield
            resource = decoded.resource
            if resource.name not in errors and self.wants(resource.name, decoded.aliases):
                self.versions[resource.name] = resource.version
                if decoded.unpacked is not None:
                    self.unpacker.keep(resource.name, decoded.packed, decoded.unpacked)
                for name in (resource.name, *decoded.aliases):
                    if name in self.by_name:
                        self.held[name] = resource
        for name in removed:
            self.versions.pop(name, None)
            self._forget(name)
        for one in (*changed, *renewed):
            if self.wants(one.resource.name, one.aliases):
                self.ttl.note(one.resource.name, one.resource.ttl, now)

    def fail(self, reason: str, detail: str) -> None:
        """Tell every sink that nothing of an update can be used ("rejected"), or that none comes ("connection")."""
        for watch in list(self.watches):
            if not watch.closed:
                watch.sink.failed(reason, detail)
                watch.sink.attempted()

    def expire(self, now: float) -> None:
        """Take away the resources whose time to live is over."""
        expired = self.ttl.expire(now)
        if expired:
            finish(self.note([], [], expired, {}, now))
            finish(self.deliver([], expired, "", tell_all=False))

    # What the protocols do differently

    @abstractmethod
    def names_changed(self, watch: Watch, added: list[str], removed: list[str]) -> None:
        """A watch came or went; added, removed: what nobody wanted before, or wants now. `WILDCARD`: everything."""

    @abstractmethod
    def resumed(self) -> None:
        """The last pause has ended."""

    @abstractmethod
    def connected(self) -> None:
        """A new stream: say all that is wanted."""

    @abstractmethod
    def receive(self, response: Any, now: float) -> Steps[None]:
        """Use a response and answer it."""


class Mux(ABC):
    """The types of one stream.

    node: who we are, for every request (node_once: for the first of a stream only). on_request: called when there may
    be a request to take (whoever takes one asks `has_request` before). identifier: what the server calls itself.
    """

    def __init__(
        self,
        node: Message,
        decoder: Decoder,
        nack_message: NackMessage,
        log: Logger,
        on_request: Callable[[], None],
        *,
        node_once: bool = False,
    ) -> None:
        self.node = node
        self.decoder = decoder
        self.nack_message = nack_message
        self.log = log
        self.on_request = on_request
        self.node_once = node_once
        self.first_request = True
        self.is_connected = False
        self.identifier = ""
        self.types: dict[str, TypeState] = {}

    def watch(self, type_url: str, names: Sequence[str], sink: Sink) -> Watch:
        """Want resources of a type: those with these names, or all there are."""
        return self.state(type_url).watch(names, sink)

    def pause(self, *type_urls: str) -> Pause:
        """Ask for nothing of these types until the pause ends. Pauses may overlap."""
        return Pause([self.state(type_url) for type_url in type_urls])

    def state(self, type_url: str) -> TypeState:
        """The state of a type, new or not."""
        state = self.types.get(type_url)
        if state is None:
            state = self.types[type_url] = self.make_state(type_url)
        return state

    def connected(self) -> None:
        """A stream is open, on which nothing has been sent."""
        self.is_connected = True
        self.first_request = True
        for state in list(self.types.values()):
            state.connected()
        self.on_request()

    def disconnected(self) -> None:
        """The stream has ended, or couldn't be opened."""
        self.is_connected = False
        self.forget_requests()
        for state in list(self.types.values()):
            state.fail("connection", "")

    def receive(self, response: Any, now: float) -> Steps[None]:
        """A response has come, at monotonic time `now`. The next one waits until all steps of this one are taken."""
        state = self.types.get(response.type_url)
        if state is None or not state.asked:
            self.log.warning("a response of a type that nobody asked for is ignored", type=response.type_url)
            return
        if response.HasField("control_plane"):
            self.identifier = response.control_plane.identifier
        yield from state.receive(response, now)

    def next_expiry(self) -> float | None:
        """The monotonic time at which `expire` should be called."""
        ends = [end for state in self.types.values() if (end := state.ttl.next) is not None]
        return min(ends) if ends else None

    def expire(self, now: float) -> None:
        """Take away the resources whose time to live is over."""
        for state in list(self.types.values()):
            state.expire(now)

    @abstractmethod
    def make_state(self, type_url: str) -> TypeState:
        """The state of a type."""

    @property
    @abstractmethod
    def has_request(self) -> bool:
        """Whether `next_request` has one."""

    @abstractmethod
    def next_request(self) -> Message | None:
        """The next request to send on the stream, which then counts as sent; None when there is none."""

    @property
    @abstractmethod
    def queued(self) -> int:
        """How many requests wait (`control_plane.pending_requests`)."""

    @abstractmethod
    def forget_requests(self) -> None:
        """What was to be sent on a stream that has ended isn't any more."""
