"""The delta protocol: requests and responses tell changes only, and every resource has a version of its own.

What is sent is the difference between what the server was told and what is wanted; on a new stream, which may lead to
another server, all that is wanted and the version of all that is held (`initial_resource_versions`).

The wildcard: a type of which everything is wanted says so by its first request on a stream naming nothing. That way of
saying it ends for good once a name was ever asked for; then the name "*" says it (xDS protocol, "How the client
specifies what resources to return").

An ACK carries no names of its own, but the changes that are due leave with it. ACKs go before everything else.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from meshproxy.messages.by_name import message_class
from meshproxy.steps import Steps
from meshproxy.xds.decode import Decoded, check_type, decode_wrapped, shorten
from meshproxy.xds.mux import INTERNAL, Mux, TypeState, Watch
from meshproxy.xds.types import DISCOVERY, WILDCARD
from meshproxy.xds.watch import DecodeError


class DeltaState(TypeState):
    """One type.

    wanted: the names the server is to know of, "*" among them. implicit: see "wildcard" above.
    greets: the server of this stream has still to be told what was wanted before the stream.
    """

    mux: DeltaMux
    attempts_if_refused = 2  # as Envoy counts

    def __init__(self, mux: DeltaMux, type_url: str) -> None:
        super().__init__(mux, type_url)
        self.wanted: set[str] = set()
        self.implicit = True
        self.greets = False
        self._to_add: set[str] = set()
        self._to_remove: set[str] = set()
        self._told = False

    def names_changed(self, watch: Watch, added: list[str], removed: list[str]) -> None:
        self.asked = True
        for name in added:
            self.implicit = self.implicit and name == WILDCARD
            self.wanted.add(name)
            self._to_remove.discard(name)
            self._to_add.add(name)
        for name in removed:
            self._to_add.discard(name)
            if name in self.wanted:
                self.wanted.remove(name)
                self._to_remove.add(name)
                self.implicit = False
            # What the wildcard may have brought as well stays known until the server says what becomes of it.
            if WILDCARD not in self.wanted:
                self.versions.pop(name, None)
        if WILDCARD in removed:
            self.versions = {name: version for name, version in self.versions.items() if name in self.wanted}
            self.implicit = False
        if self.is_due:
            self.mux.on_request()

    @property
    def is_due(self) -> bool:
        """Whether there is something to tell the server, ACKs aside."""
        if self._to_add or self._to_remove:
            return True
        return self.asked and not self._told and (bool(self.wanted) or self.implicit)

    def resumed(self) -> None:
        self.mux.on_request()

    def connected(self) -> None:
        self._told = False
        self.greets = self.asked

    def fill(self, request: Any) -> None:
        """Put into a request what is to be told; it counts as told then."""
        if not self._told:
            self._told = True
            self.greets = False
            unnamed = self.implicit or (not self._to_add and not self._to_remove and self.wanted == {WILDCARD})
            if unnamed:
                self.wanted.add(WILDCARD)
            request.initial_resource_versions.update(self.versions)
            self._to_add = set() if unnamed else set(self.wanted)
            self._to_remove = set()
        request.resource_names_subscribe.extend(sorted(self._to_add))
        request.resource_names_unsubscribe.extend(sorted(self._to_remove))
        self._to_add.clear()
        self._to_remove.clear()

    def receive(self, response: Any, now: float) -> Steps[None]:
        try:
            self.error = yield from self._use(response, now)
        except DecodeError as failure:
            self.error = shorten(str(failure))
            self.fail("rejected", self.error)
        self.nonce = response.nonce
        self.mux.acks.append((self, response.nonce, self.error))
        self.mux.on_request()

    def _use(self, response: Any, now: float) -> Steps[str]:
        """Give the sinks what the response says; the error to answer with. Raises DecodeError."""
        _check_names(response)
        changed, renewed, unresolved = yield from self._decode(response)
        removed = [*response.removed_resources, *unresolved]
        errors: dict[str, str] = {}
        if changed or removed or not renewed:
            nothing = not response.resources and not removed
            errors = yield from self.deliver(changed, removed, response.system_version_info, tell_all=nothing)
        self.version = response.system_version_info
        before = self.versions
        if errors:  # as in Envoy, which tells at the next connect of nothing that came with a refused resource
            self.versions = dict(before)
        yield from self.note(changed, renewed, removed, errors, now)
        if errors:
            self.versions = before
        return shorten(self.mux.nack_message(self.type_url, errors)) if errors else ""

    def _decode(self, response: Any) -> Steps[tuple[list[Decoded], list[Decoded], list[str]]]:
        """What is new, what is said to be still good (heartbeats), and names by which there is nothing."""
        changed, renewed, unresolved = [], [], []
        for wrapped in response.resources:
            is_empty = not wrapped.HasField("resource")
            if is_empty and self.versions.get(wrapped.name) == wrapped.version:
                renewed.append((yield from decode_wrapped(wrapped, response, self.unpacker)))
            elif is_empty and wrapped.aliases:
                unresolved += wrapped.aliases
            else:
                check_type(wrapped, response)
                if self.wants(wrapped.name, wrapped.aliases):
                    changed.append((yield from decode_wrapped(wrapped, response, self.unpacker)))
            yield
        return changed, renewed, unresolved


def _check_names(response: Any) -> None:
    """Raises DecodeError when a name stands twice in a response."""
    seen: set[str] = set()
    for wrapped in response.resources:
        if wrapped.name in seen:
            raise DecodeError(f"duplicate name {wrapped.name} found among added/updated resources")
        seen.add(wrapped.name)
    for name in response.removed_resources:
        if name in seen:
            raise DecodeError(f"duplicate name {name} found in the union of added+removed resources")
        seen.add(name)


class DeltaMux(Mux):
    """All types of a stream of `DeltaDiscoveryRequest`s and `DeltaDiscoveryResponse`s."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._request: Any = message_class(f"{DISCOVERY}DeltaDiscoveryRequest")
        self.acks: list[tuple[DeltaState, str, str]] = []

    def make_state(self, type_url: str) -> DeltaState:
        return DeltaState(self, type_url)

    @property
    def has_request(self) -> bool:
        return self.is_connected and (self._next_ack() is not None or self._next_state() is not None)

    def next_request(self) -> Message | None:
        if not self.is_connected:
            return None
        index = self._next_ack()
        if index is not None:
            return self._make(*self.acks.pop(index))
        state = self._next_state()
        return self._make(state) if state is not None else None

    def _next_ack(self) -> int | None:
        return next((index for index, (state, _, _) in enumerate(self.acks) if not state.pauses), None)

    def _next_state(self) -> DeltaState | None:
        """The first type of which there is something to tell, in the order in which they were first wanted."""
        for state in self.types.values():
            assert isinstance(state, DeltaState)
            if state.is_due and (state.greets or not state.pauses):
                return state
        return None

    def _make(self, state: DeltaState, nonce: str = "", error: str = "") -> Message:
        request: Any = self._request(type_url=state.type_url, response_nonce=nonce)
        state.fill(request)
        if error:
            request.error_detail.code = INTERNAL
            request.error_detail.message = error
        if self.first_request or not self.node_once:
            request.node.CopyFrom(self.node)
        self.first_request = False
        made: Message = request
        return made

    @property
    def queued(self) -> int:
        return len(self.acks)

    def forget_requests(self) -> None:
        self.acks.clear()
