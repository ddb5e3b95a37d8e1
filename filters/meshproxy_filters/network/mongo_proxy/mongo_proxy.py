"""`envoy.filters.network.mongo_proxy`: counts what clients of MongoDB ask, and can make them wait.

It stands before `tcp_proxy` and changes no byte. Both directions are decoded; the first message that can't be is
counted (`decoding_error`), and from then on the connection is carried unseen.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from meshproxy.matching import FractionalPercent
from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.stats import Counter, StatsScope
from meshproxy.records import dataclass
from meshproxy.runtime_values import Live, Share
from meshproxy_filters.network.mongo_proxy import wire
from meshproxy_filters.network.mongo_proxy.bson import WireError
from meshproxy_filters.network.mongo_proxy.wire import Decoder, Message, QueryFacts, facts_of

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_NAMESPACE = "envoy.filters.network.mongo_proxy"
_COMMANDS = ("delete", "insert", "update")
_MOST_NAMES = 1000
_ALL = FractionalPercent(100)
_DELAY = "mongo.fault.fixed_delay.duration_ms"
_GETS = {"all": "scatter_get", "several": "multi_get"}
_TOLD = {wire.QUERY: "query", wire.INSERT: "insert"}
_COUNTERS = (
    *("cx_destroy_local_with_active_rq", "cx_destroy_remote_with_active_rq", "cx_drain_close", "decoding_error"),
    *("delays_injected", "op_command", "op_command_reply", "op_get_more", "op_insert", "op_kill_cursors", "op_query"),
    *("op_query_await_data", "op_query_exhaust", "op_query_multi_get", "op_query_no_cursor_timeout"),
    *("op_query_no_max_time", "op_query_scatter_get", "op_query_tailable_cursor", "op_reply"),
    *("op_reply_cursor_not_found", "op_reply_query_failure", "op_reply_valid_cursor"),
)
_OPERATIONS = {
    wire.COMMAND: "op_command",
    wire.COMMAND_REPLY: "op_command_reply",
    wire.GET_MORE: "op_get_more",
    wire.INSERT: "op_insert",
    wire.KILL_CURSORS: "op_kill_cursors",
    wire.QUERY: "op_query",
    wire.REPLY: "op_reply",
}
_QUERY_FLAGS = (
    (wire.TAILABLE_CURSOR, "op_query_tailable_cursor"),
    (wire.NO_CURSOR_TIMEOUT, "op_query_no_cursor_timeout"),
    (wire.AWAIT_DATA, "op_query_await_data"),
    (wire.EXHAUST, "op_query_exhaust"),
)
_REPLY_FLAGS = ((wire.CURSOR_NOT_FOUND, "op_reply_cursor_not_found"), (wire.QUERY_FAILURE, "op_reply_query_failure"))


class MongoStats:
    """`mongo.<stat_prefix>.`. Names that clients choose are bounded: beyond `_MOST_NAMES` they are "other"."""

    def __init__(self, scope: StatsScope) -> None:
        self.scope = scope
        self.counters: dict[str, Counter] = {name: scope.counter(name) for name in _COUNTERS}
        self.active = scope.gauge("op_query_active")
        self._names: set[str] = set()

    def count(self, name: str) -> None:
        self.counters[name].value += 1

    def paths_of(self, facts: QueryFacts, commands: frozenset[str]) -> list[str]:
        """The places at which a query, and its reply, are counted."""
        if facts.command:
            return [f"cmd.{facts.command if facts.command in commands else 'unknown_command'}."]
        collection = self._bounded(facts.collection)
        paths = [f"collection.{collection}.query."]
        if facts.callsite:
            paths.append(f"collection.{collection}.callsite.{self._bounded(facts.callsite)}.query.")
        return paths

    def _bounded(self, name: str) -> str:
        if name not in self._names:
            if len(self._names) >= _MOST_NAMES:
                return "other"
            self._names.add(name)
        return name


@dataclass(frozen=True, slots=True, eq=False)
class MongoConfig:
    """tells: operations go into the dynamic metadata. delayed: the share of messages that wait; delay: milliseconds,
    None for none. enabled: of decoding at all."""

    stats: MongoStats
    commands: frozenset[str]
    tells: bool
    delayed: Share
    delay: Live[int] | None
    enabled: Share


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A query without its reply."""

    request_id: int
    paths: list[str]
    began: float


class MongoProxy(NetworkFilter[MongoConfig]):
    """See the module."""

    def __init__(self, config: MongoConfig, context: FactoryContext) -> None:
        super().__init__(config, context)
        self._sniffing = True
        self._requests, self._replies = Decoder(), Decoder()
        self._waiting: list[_Waiting] = []
        self._due = 0.0
        self._left = self._host_ended = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> MongoConfig:
        if view.text("access_log"):
            view.fail("a log of MongoDB's messages isn't supported by meshproxy", "access_log")
        prefix = view.text("stat_prefix")
        delay = view.view("delay")
        share, seconds = FractionalPercent(0), None
        if delay is not None:
            if delay.which("fault_delay_secifier") != "fixed_delay":
                delay.fail("only a 'fixed_delay' makes messages of MongoDB wait")
            seconds = delay.seconds("fixed_delay", 0.0)
            percentage = delay.view("percentage")
            share = context.compile_fraction(percentage) if percentage is not None else share
        runtime = context.runtime
        return MongoConfig(
            stats=context.shared(
                (_NAMESPACE, prefix), lambda: MongoStats(context.root_stats.scope(f"mongo.{prefix}."))
            ),
            commands=frozenset(view.texts("commands") or _COMMANDS),
            tells=view.boolean("emit_dynamic_metadata"),
            delayed=runtime.share("mongo.fault.fixed_delay.percent", share),
            delay=None if seconds is None else runtime.integer(_DELAY, int(seconds * 1000)),
            enabled=runtime.share("mongo.proxy_enabled", _ALL),
        )

    def on_data(self, data: bytes, end: bool, connection: Connection) -> bytes | Awaitable[bytes | None] | None:
        self._left = self._left or (end and not self._host_ended)
        self._look(self._requests, data, connection)
        if not self._due:
            return None
        return self._later(data, connection)

    async def _later(self, data: bytes, connection: Connection) -> bytes:
        seconds, self._due = self._due, 0.0
        await connection.sleep(seconds)
        return data

    def on_write(self, data: bytes, end: bool, connection: Connection) -> None:
        self._host_ended = self._host_ended or end
        self._look(self._replies, data, connection)

    def _look(self, decoder: Decoder, data: bytes, connection: Connection) -> None:
        config = self.config
        if not self._sniffing or not self._covered(config.enabled):
            return
        if config.tells:
            stream = connection.stream
            stream.dynamic_metadata = {**(stream.dynamic_metadata or {}), _NAMESPACE: {}}
        try:
            for message in decoder.feed(data):
                self._take(message, connection)
        except WireError as error:
            self.log.info("mongo decoding error", error=str(error))
            config.stats.count("decoding_error")
            self._sniffing = False

    def _covered(self, share: Share) -> bool:
        return share.covers(self.context.rng.getrandbits(63))

    def _take(self, message: Message, connection: Connection) -> None:
        stats = self.config.stats
        if message.kind == wire.REPLY:
            self._take_reply(message, connection)
            return
        self._delay_it()
        stats.count(_OPERATIONS[message.kind])
        if self.config.tells and message.kind in _TOLD:
            told = (connection.stream.dynamic_metadata or {}).get(_NAMESPACE, {}).get(message.collection, [])
            connection.stream.set_metadata(_NAMESPACE, message.collection, [*told, _TOLD[message.kind]])
        if message.kind == wire.QUERY:
            self._take_query(message, connection)

    def _delay_it(self) -> None:
        delay = self.config.delay
        if delay is not None and delay.value > 0 and not self._due and self._covered(self.config.delayed):
            self._due = delay.value / 1000
            self.config.stats.count("delays_injected")

    def _take_query(self, message: Message, connection: Connection) -> None:
        stats = self.config.stats
        facts = facts_of(message)
        for flag, name in _QUERY_FLAGS:
            if message.flags & flag:
                stats.count(name)
        paths = stats.paths_of(facts, self.config.commands)
        for path in paths:
            stats.scope.counter(f"{path}total").inc()
        if not facts.command:
            if facts.max_time < 1:
                stats.count("op_query_no_max_time")
            kind = _GETS.get(facts.gets)
            if kind is not None:
                stats.count(f"op_query_{kind}")
                for path in paths:
                    stats.scope.counter(f"{path}{kind}").inc()
        stats.active.inc()
        self._waiting.append(_Waiting(message.request_id, paths, connection.clock.now()))

    def _take_reply(self, message: Message, connection: Connection) -> None:
        stats = self.config.stats
        stats.count("op_reply")
        if message.cursor:
            stats.count("op_reply_valid_cursor")
        for flag, name in _REPLY_FLAGS:
            if message.flags & flag:
                stats.count(name)
        found = next((query for query in self._waiting if query.request_id == message.response_to), None)
        if found is None:
            return
        self._waiting.remove(found)
        stats.active.dec()
        took = int((connection.clock.now() - found.began) * 1000)
        for path in found.paths:
            stats.scope.histogram(f"{path}reply_num_docs").record(len(message.documents))
            stats.scope.histogram(f"{path}reply_size").record(sum(document.size for document in message.documents))
            stats.scope.histogram(f"{path}reply_time_ms").record(took)

    def on_close(self, connection: Connection) -> None:
        if not self._waiting:
            return
        stats = self.config.stats
        remote = self._left or connection.info.detected_close_type == "RemoteReset"
        # Envoy's names are the other way round.
        stats.count(f"cx_destroy_{'local' if remote else 'remote'}_with_active_rq")
        for _ in self._waiting:
            stats.active.dec()
