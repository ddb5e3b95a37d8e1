"""What a case is: a configuration, what clients send, what upstreams answer, and what is compared.

Every text of a case (configuration fragments, bytes to send, bytes to answer) may name these, which are replaced
when the case is placed in a process:

    $up $up2 ...            names of the clusters that lead to this case's upstreams
    $up_port $up2_port ...  their ports
    $port                   the port of this case's listener; $port2, $port3 ... are free for further listeners
    $admin_port             the port of the admin interface
    $case                   the name of the case (also the stat prefix and the name of the access log)
    $dir                    the directory with the access logs

Expected values are not written by hand: what meshproxy did is compared with what Envoy did. `shows` proves that a
case tests what it says: text that must occur in what Envoy did.
"""

from __future__ import annotations

import enum
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


class Act(enum.Enum):
    """What a client or an upstream does besides sending bytes (bytes or str) and waiting (a float, seconds)."""

    HALF_CLOSE = "send FIN, go on reading"
    CLOSE = "close"
    RESET = "close with RST"
    WAIT_EOF = "wait until the peer has closed"
    WAIT_REQUEST = "wait until the request is complete (only of use where the answer starts at its head)"
    WAIT_UPSTREAM = "wait until an upstream has a request (a client's)"
    WAIT_OTHERS = "wait until the other clients have ended (a client's)"
    RAW = "read what follows as opaque bytes"
    ECHO = "send back whatever comes, until the peer closes"
    STOP_READING = "read nothing more"
    READ_ON = "read again"


@dataclass(frozen=True, slots=True)
class Wait:
    """Until `text` has arrived `times` times, at most `seconds`."""

    text: str
    times: int = 1
    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Slow:
    """One write per byte, `pause` seconds apart."""

    text: str
    pause: float = 0.002


@dataclass(frozen=True, slots=True)
class Signal:
    """Send signal `name` ("TERM") to the program."""

    name: str


@dataclass(frozen=True, slots=True)
class WaitExit:
    """Wait until the program has ended; its exit code goes into the transcript."""

    seconds: float = 10.0


Op = bytes | str | float | Act | Wait | Slow | Signal | WaitExit


@dataclass(frozen=True, slots=True)
class Client:
    """A connection to the proxy.

    to: "port" is the case's listener, "port2" and "port3" further ones, "admin_port" the admin interface.
    start: seconds after the case began, or after client number `after` (from 1) has ended.
    quiet: how long nothing must happen after the last byte before the connection counts as open.
    timing: compare when the first byte and the end came.
    view: how bodies are shown: "text", or a function of the text, such as `shape` for JSON.
    h2: what comes back is HTTP/2; see `h2_wire`.
    tls: makes what the connection is wrapped in; the transcript begins with what was agreed on, or why nothing was.
    """

    ops: tuple[Op, ...]
    to: str = "port"
    host: str = "127.0.0.1"
    start: float = 0.0
    after: int = 0
    quiet: float = 1.5
    timing: bool = True
    view: Callable[[str], str] | None = None
    raw: bool = False
    h2: bool = False
    tls: Callable[[], ssl.SSLContext] | None = None
    server_name: str = ""


def client(*ops: Op, **options: Any) -> Client:
    return Client(ops, **options)


def admin(path: str, method: str = "GET", **options: Any) -> Client:
    """A request to the admin interface."""
    request = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    return Client((request,), to="admin_port", timing=False, **options)


LEFT = ((r"(x-envoy-expected-rq-timeout-ms): (?!3000\b|15000\b)\d{4,5}\b", r"\1: <what is left>"),)
"""Masks what a later attempt is told: what is left of the time of the whole request, 15 s or a case's own 3 s."""

OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A peer that records all it sees and answers from a script.

    answers: the i-th is played for the i-th request of all connections together; the last one for all that follow.
    at: "complete" plays it when the request has arrived whole, "head" as soon as its head has.
    mode: "http"; "h2" speaks HTTP/2 (its operations stand in `h2_peer`); "raw" plays `answers[0]` (then [1] ...) per
        connection on opaque bytes; "refuse" answers connects with RST; "unanswered" lets them wait for ever.
    probe: what answers a request for /probe, whatever its number.
    first: what an HTTP/2 upstream says on each connection before anything else.
    view: shows the bodies that it got; else they are shown as they are.
    tls: makes what its connections are wrapped in.
    cluster: YAML of the cluster that leads to it.
    """

    answers: tuple[tuple[Any, ...], ...] = ((OK,),)
    at: str = "complete"
    mode: str = "http"
    host: str = "127.0.0.1"
    probe: tuple[Op, ...] = ()
    first: tuple[Any, ...] = ()
    view: Callable[[bytes], str] | None = None
    tls: Callable[[], ssl.SSLContext] | None = None
    cluster: str = ""


def answer(*ops: Op, at: str = "complete") -> dict[str, Upstream]:
    """One upstream that plays `ops` for each request."""
    return {"up": Upstream((ops,), at=at)}


def answers(*scripts: tuple[Op, ...] | str) -> dict[str, Upstream]:
    """One upstream that plays the first script for the first request, and so on."""
    return {"up": Upstream(tuple((script,) if isinstance(script, str) else script for script in scripts))}


def raw(*ops: Op) -> dict[str, Upstream]:
    """One upstream that speaks no HTTP."""
    return {"up": Upstream((ops,), mode="raw")}


REFUSE = {"up": Upstream(mode="refuse")}


@dataclass(frozen=True, slots=True)
class Difference:
    """A known difference. title: as in docs/differences.md. sections: the parts of the transcript that differ."""

    title: str
    sections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One case; see the module's text. Configuration fragments are YAML, merged over the defaults of `bootstrap`.

    send: what one client sends; `clients` says more. quiet, timing: see `Client`.
    network, chains, listeners: instead of one chain with one HTTP connection manager.
    config: a whole configuration instead of all the fragments. args: further arguments of the program.
    ports: how many there are for listeners.
    alone: needs a process of its own. refused: both programs must refuse the configuration.
    flat_upstream: compare the requests, whatever connections they came on and in whatever order.
    merge_upstreams: don't tell the upstreams from one another, because chance chooses among them.
    upstream_end: compare how the upstreams' connections stood at the end. exact_end: tell RST from FIN, on both sides.
    stats: a regular expression; the statistics with such names are compared.
    distinct_log: rows of the log that are alike count once: how many there are depends on how long something took.
    masks: further (pattern, replacement) for what differs from run to run.
    """

    name: str
    send: str | bytes | tuple[Op, ...] = ""
    clients: tuple[Client, ...] = ()
    upstreams: Mapping[str, Upstream] = field(default_factory=lambda: {"up": Upstream()})
    routes: str = ""
    vhost: str = ""
    vhosts: str = ""
    route_config: str = ""
    hcm: str = ""
    filters: str = ""
    router: str = ""
    listener: str = ""
    listener_filters: str = ""
    network: str = ""
    chains: str = ""
    listeners: str = ""
    cluster: str = ""
    clusters: str = ""
    log: str = ""
    bootstrap: str = ""
    config: str = ""
    args: tuple[str, ...] = ()
    ports: int = 3
    quiet: float = 1.5
    alone: bool = False
    refused: bool = False
    timing: bool = True
    compare_log: bool = True
    sort_log: bool = False
    distinct_log: bool = False
    sort_upstream: bool = False
    flat_upstream: bool = False
    merge_upstreams: bool = False
    upstream_end: bool = False
    exact_end: bool = False
    stats: str = ""
    masks: tuple[tuple[str, str], ...] = ()
    shows: tuple[str, ...] | str = ()
    differs: Difference | None = None
    area: str = ""

    def all_clients(self) -> tuple[Client, ...]:
        if self.clients:
            return self.clients
        ops = self.send if isinstance(self.send, tuple) else (self.send,)
        return (Client(ops, quiet=self.quiet, timing=self.timing),)


def get(path: str = "/", *lines: str, host: str = "h.test", method: str = "GET", body: str = "") -> str:
    """A request with `lines` as further header lines."""
    length = [f"content-length: {len(body)}"] if body else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"host: {host}", *lines, *length, "", body])
