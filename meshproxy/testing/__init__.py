"""Testing filters: the proxy's own filter chain and connection, without sockets, and with a clock that obeys.

A filter that passes here runs in the proxy, because what runs it is the same code; only the wire, the upstream and time
are replaced. Everything is an ordinary call: `async` hooks run as far as they can, and wait where they wait.

- `FilterHarness` for HTTP filters: `request()` gives an `Exchange` with what the upstream saw and the client got;
- `NetworkHarness` for network filters: `connect()` gives a `Client`;
- `ListenerHarness` for listener filters: `accept()` gives a `Verdict`.

All of them have `clock.advance(seconds)`, `stats`, `log.events`, and `cluster(name)` to script what is answered.
"""

from __future__ import annotations

from meshproxy.testing.clusters import ScriptedCluster
from meshproxy.testing.http import DEFAULT_ROUTE, FILTER_DISABLED, Exchange, FilterHarness, ScriptedUpstream
from meshproxy.testing.listener import ListenerHarness, Verdict, accepted
from meshproxy.testing.network import Client, NetworkHarness
from meshproxy.testing.scripted_request import Answer, Received
from meshproxy.testing.scripted_tcp import ScriptedTcpUpstream

__all__ = [
    "DEFAULT_ROUTE",
    "FILTER_DISABLED",
    "Answer",
    "Client",
    "Exchange",
    "FilterHarness",
    "ListenerHarness",
    "NetworkHarness",
    "Received",
    "ScriptedCluster",
    "ScriptedTcpUpstream",
    "ScriptedUpstream",
    "Verdict",
    "accepted",
]
