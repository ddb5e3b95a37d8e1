"""The harness for listener filters: first bytes in pieces of any size, peeked at as the listener does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshproxy.plugin.listener import NEED_MORE, ListenerFilter, RefuseConnection, Socket
from meshproxy.records import dataclass
from meshproxy.testing.environment import Environment

_LOCAL, _REMOTE = ("192.0.2.10", 15006), ("192.0.2.20", 40000)


def accepted(**changes: Any) -> Socket:
    """The facts of a connection that was just accepted; `changes` to them."""
    facts = {"local": _LOCAL, "remote": _REMOTE, "direct_local": _LOCAL, "direct_remote": _REMOTE}
    return Socket(**{**facts, "listening_port": 15006, **changes})


@dataclass(slots=True)
class Verdict:
    """What a listener filter made of a connection.

    decided: it has enough. consumed: bytes it takes off the stream. refused: why it closed the connection, or None.
    peeks: how often it was shown the bytes.
    """

    socket: Socket
    decided: bool = False
    consumed: int = 0
    refused: str | None = None
    peeks: int = 0


class ListenerHarness(Environment):
    """Runs a listener filter over the first bytes of connections.

        harness = ListenerHarness(TlsInspector, {})
        assert harness.accept([client_hello]).socket.server_name == "a.example"

    filter_class, config: as for `FilterHarness`.
    """

    def __init__(
        self, filter_class: type[ListenerFilter[Any]], config: Any = None, *, name: str = "", **environment: Any
    ) -> None:
        super().__init__(**environment)
        self._spec = self.compile(filter_class, config, self._store.scope(""), name)

    def accept(self, pieces: Iterable[bytes] = (), *, ends: bool = False, socket: Socket | None = None) -> Verdict:
        """A connection whose bytes come in `pieces`; `ends`: the client then half-closes.

        `on_accept` must be a plain function here.
        """
        verdict = Verdict(socket or accepted())
        tested = self._spec.filter_class(self._spec.config, self._spec.context)
        try:
            tested.on_accept(verdict.socket)
            if not tested.max_peek:
                verdict.decided = True
                return verdict
            data = b""
            for piece in pieces:
                data = (data + piece)[: tested.max_peek]
                if self._peek(tested, data, len(data) >= tested.max_peek, verdict):
                    return verdict
            if ends:
                self._peek(tested, data, True, verdict)
        except RefuseConnection as refusal:
            verdict.refused = str(refusal)
        return verdict

    @staticmethod
    def _peek(tested: ListenerFilter[Any], data: bytes, end: bool, verdict: Verdict) -> bool:
        verdict.peeks += 1
        peeked = tested.on_peek(data, end, verdict.socket)
        if peeked is NEED_MORE:
            return False
        verdict.decided, verdict.consumed = True, peeked.consume
        return True
