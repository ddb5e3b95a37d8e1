"""The state-of-the-world protocol: every request names all that is wanted, every response answers with versions.

Where this differs from delta:
- there is one version for each type, that of the last response used in full; a refused one leaves it as it was;
- a change of names is the same message as an ACK: the version, the last nonce and the new list;
- of clusters and listeners a response lists all there are, so what is missing is gone. Of other types a response is
  only what it contains: what is missing is unchanged, and what nobody asked for is ignored;
- each sink that comes, and each that goes, is one more request (Envoy sends them so; pauses join them).
"""

from __future__ import annotations

from collections import deque
from typing import Any

from google.protobuf.message import Message

from meshproxy.messages.by_name import message_class
from meshproxy.steps import Steps
from meshproxy.xds.decode import Decoded, decode_response, shorten
from meshproxy.xds.mux import INTERNAL, Mux, Pause, TypeState, Watch
from meshproxy.xds.types import DISCOVERY
from meshproxy.xds.watch import DecodeError


class SotwState(TypeState):
    """One type.

    listed: the names in the last response of a type with full state. nack: the error to send with the next request.
    """

    mux: SotwMux

    def __init__(self, mux: SotwMux, type_url: str) -> None:
        super().__init__(mux, type_url)
        self.owed = False
        self.nack = ""
        self.listed: set[str] = set()

    def names_changed(self, watch: Watch, added: list[str], removed: list[str]) -> None:
        for name in removed:
            self.versions.pop(name, None)
        if watch.closed and not watch.names:
            return
        self.asked = True
        self.ask()

    def ask(self) -> None:
        """Queue a request, or remember that one is owed."""
        if not self.mux.is_connected:
            return
        if self.pauses:
            self.owed = True
            return
        self.mux.queue.append(self)
        self.mux.on_request()

    def resumed(self) -> None:
        if self.owed and self.asked:
            self.owed = False
            self.ask()

    def connected(self) -> None:
        self.nonce = ""
        self.owed = False
        if self.asked:
            self.mux.queue.append(self)

    def names(self) -> list[str]:
        """All names that are wanted; the latest sink's first, as Envoy sends them."""
        names: dict[str, None] = {}
        for watch in reversed(self.watches):
            names.update(dict.fromkeys(watch.names))
        return list(names)

    def receive(self, response: Any, now: float) -> Steps[None]:
        if not self.watches:
            self.nonce = response.nonce
            if response.resources:
                self.ask()
            else:
                self.version = response.version_info
            return
        with Pause([self]):
            yield from self._use(response, now)
            self.nonce = response.nonce
            self.ask()

    def _use(self, response: Any, now: float) -> Steps[None]:
        """Give the sinks what the response says, and settle the version or the error to answer with."""
        version: str = response.version_info
        try:
            decoded = yield from decode_response(response, self.mux.wrapper, self.unpacker)
        except DecodeError as error:
            self.nack = self.error = shorten(str(error))
            self.fail("rejected", self.error)
            return
        changed = [one for one in decoded if not one.empty]
        renewed = [one for one in decoded if one.empty and one.resource.version == self.version]
        removed = self._missing(decoded)
        errors: dict[str, str] = {}
        if changed or removed or not renewed:
            errors = yield from self.deliver(changed, removed, version, tell_all=True)
        yield from self.note(changed, renewed, removed, errors, now)
        self.nack = self.error = shorten(self.mux.nack_message(self.type_url, errors)) if errors else ""
        if not errors:
            self.version = version

    def _missing(self, decoded: list[Decoded]) -> list[str]:
        """What a response of a type with full state no longer lists."""
        if not self.full_state:
            return []
        present = {one.resource.name for one in decoded}
        missing = sorted(self.listed - present)
        self.listed = present
        return missing


class SotwMux(Mux):
    """All types of a stream of `DiscoveryRequest`s and `DiscoveryResponse`s."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._request: Any = message_class(f"{DISCOVERY}DiscoveryRequest")
        self.wrapper: Any = message_class(f"{DISCOVERY}Resource")
        self.queue: deque[SotwState] = deque()

    def make_state(self, type_url: str) -> SotwState:
        return SotwState(self, type_url)

    @property
    def has_request(self) -> bool:
        return bool(self.queue)

    def next_request(self) -> Message | None:
        return self._make(self.queue.popleft()) if self.queue else None

    def poll(self, type_url: str) -> Message:
        """A request for a type, for a transport without streams: nothing of it belongs to one."""
        state = self.state(type_url)
        assert isinstance(state, SotwState)
        state.nonce = state.nack = ""
        return self._make(state)

    def _make(self, state: SotwState) -> Message:
        request: Any = self._request(
            type_url=state.type_url,
            version_info=state.version,
            response_nonce=state.nonce,
            resource_names=state.names(),
        )
        if state.nack:
            request.error_detail.code = INTERNAL
            request.error_detail.message = state.nack
            state.nack = ""
        if self.first_request or not self.node_once:
            request.node.CopyFrom(self.node)
        self.first_request = False
        made: Message = request
        return made

    @property
    def queued(self) -> int:
        return len(self.queue)

    def forget_requests(self) -> None:
        self.queue.clear()
        for state in self.types.values():
            assert isinstance(state, SotwState)
            state.nack = ""
