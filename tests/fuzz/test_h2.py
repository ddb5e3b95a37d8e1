"""HTTP/2 with arbitrary bytes: only the peer's error comes out, cuts change nothing, and `h2` reads the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from hypothesis import given, settings
from hypothesis import strategies as st

from meshproxy.codec.h2_client import Http2ClientCodec
from meshproxy.codec.h2_connection import Http2Codec
from meshproxy.codec.h2_limits import WINDOW_UPDATE_BASE
from meshproxy.codec.h2_server import Http2ServerCodec
from meshproxy.codec.hpack_decode import Decoder
from meshproxy.codec.hpack_encode import Encoder
from meshproxy.codec.hpack_static import HpackError
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http2Options

from ..conformance import h2_wire as wire

EXAMPLES = settings(max_examples=150)
Event = tuple[object, ...]


@dataclass
class Log:
    """A sink that writes down what it's told, pieces of a body joined, and checks the order of the calls."""

    events: list[Event] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)
    over: bool = False
    ended: set[int] = field(default_factory=set)
    heads: set[int] = field(default_factory=set)

    def _note(self, kind: str, sid: int, *what: object) -> None:
        assert not self.over, "a call after the end of the connection"
        assert sid not in self.ended, "a call after the end of the stream"
        self.events.append((kind, sid, *what))

    def on_stream_request(self, sid: int, request: RequestHeaders, end: bool) -> None:
        head = (request.method, request.scheme, request.authority, request.path)
        self._note("head", sid, head, tuple(request.items()))
        self._end(sid, end)
        self.heads.add(sid)

    def on_stream_response(self, sid: int, response: ResponseHeaders, end: bool) -> None:
        self._note("head", sid, response.status, tuple(response.items()))
        self._end(sid, end)
        self.heads.add(sid)

    def on_stream_informational(self, sid: int, response: ResponseHeaders) -> None:
        assert sid not in self.heads
        self._note("informational", sid, response.status, tuple(response.items()))

    def on_stream_data(self, sid: int, data: bytes, end: bool) -> None:
        assert sid in self.heads
        if self.events[-1][:2] == ("data", sid):
            self.events[-1] = ("data", sid, self.events[-1][2] + data)  # type: ignore[operator]  # the third of a "data" is bytes
        elif data:
            self._note("data", sid, data)
        self._end(sid, end)

    def on_stream_trailers(self, sid: int, trailers: Headers) -> None:
        assert sid in self.heads
        self._note("trailers", sid, tuple(trailers.items()))
        self._end(sid, True)

    def _end(self, sid: int, end: bool) -> None:
        if end:
            self._note("end", sid)

    def on_stream_reset(self, sid: int, code: int) -> None:
        self._note("reset", sid, code)
        self.ended.add(sid)

    def on_stream_error(self, sid: int, error: ProtocolError) -> None:
        self._note("error", sid)
        self.ended.add(sid)

    def on_connection_error(self, error: ProtocolError) -> None:
        self._note("failed", 0)
        self.over = True

    def on_goaway(self, last_sid: int, code: int) -> None:
        self._note("goaway", 0, last_sid, code)

    def on_ping_ack(self, payload: bytes) -> None:
        self._note("pong", 0, payload)

    def on_settings(self) -> None:
        self._note("settings", 0)

    def on_output(self) -> None: ...

    def on_stream_blocked(self, sid: int, blocked: bool) -> None: ...

    def on_count(self, name: str) -> None:
        self.counts.append(name)


def server(**options: Any) -> tuple[Http2ServerCodec, Log]:
    log = Log()
    return Http2ServerCodec(log, Http2Options(**options), lambda: 1.0), log


def client() -> tuple[Http2ClientCodec, Log]:
    log = Log()
    codec = Http2ClientCodec(log, Http2Options(), lambda: 1.0)
    for _ in range(3):
        codec.send_request(RequestHeaders("POST", "/", "a.example", "http"), False)
    return codec, log


# -- arbitrary bytes, and frames that are nearly right

FIELDS = st.sampled_from(
    [
        *wire.request(),
        (":status", "200"),
        (":status", "100"),
        (":status", "20"),
        ("content-length", "3"),
        ("content-length", "0"),
        ("x-test", "a"),
        ("te", "trailers"),
        ("connection", "close"),
        ("cookie", "a=1"),
        ("X-Upper", "1"),
        ("host", "b.example"),
        ("x-lf", "a\nb"),
    ]
)
BLOCKS = st.one_of(
    st.just(wire.block(wire.request())),
    st.just(wire.block([(":status", "200")])),
    st.just(b"\x82\x86\x84\x41\x01a"),
    st.just(b"\x88"),
    st.lists(FIELDS, max_size=8).map(wire.block),
    st.binary(max_size=30),
)
SIDS = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 2, 7, 2**31 - 1])
FLAGS = st.one_of(st.sampled_from([0, 1, 4, 5, 5, 5, 8, 13, 37]), st.integers(0, 255))
WORDS = st.sampled_from([0, 1, 8, 100, 65535, 2**31 - 1, 2**32 - 1]).map(lambda n: n.to_bytes(4, "big"))
SETTINGS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0, 1, 2, 100, 16384, 65536, 2**31 - 1, 2**31])))
FRAMES = st.one_of(
    st.builds(wire.frame, st.just(wire.HEADERS), FLAGS, SIDS, BLOCKS),
    st.builds(wire.frame, st.just(wire.HEADERS), st.sampled_from([4, 5]), SIDS, BLOCKS),
    st.builds(wire.frame, st.just(wire.CONTINUATION), FLAGS, SIDS, BLOCKS),
    st.builds(wire.frame, st.just(wire.DATA), FLAGS, SIDS, st.binary(max_size=20)),
    st.builds(wire.frame, st.just(wire.DATA), st.sampled_from([0, 1]), SIDS, st.binary(max_size=4)),
    st.builds(wire.frame, st.sampled_from([3, 8]), st.just(0), SIDS, WORDS),
    SETTINGS.map(lambda pairs: wire.settings(*pairs)),
    st.builds(wire.frame, st.integers(0, 12), FLAGS, SIDS, st.binary(max_size=20)),
    st.just(wire.ping()),
    st.just(wire.frame(wire.SETTINGS, wire.ACK, 0)),
    st.binary(max_size=12),
)
TRAFFIC = st.lists(FRAMES, max_size=25).map(b"".join)


def feed(codec: Http2Codec, sent: bytes, cuts: list[int]) -> bytes:
    """Feed the bytes cut in pieces; what was written. Bodies are consumed at once."""
    written = b""
    places = sorted({0, len(sent), *(cut % (len(sent) + 1) for cut in cuts)})
    for start, stop in pairwise(places):
        codec.receive(sent[start:stop])
        while codec.unfinished:
            codec.resume()
        written += codec.take()
    return written


@EXAMPLES
@given(TRAFFIC, st.booleans())
def test_only_the_peers_error_comes_out_of_a_server(traffic: bytes, lenient: bool) -> None:
    codec, log = server(override_stream_error_on_invalid_http_message=lenient)
    written = feed(codec, wire.PREFACE + wire.settings() + traffic, [])
    assert len(written) <= 200 + 2 * len(traffic)
    assert codec.failed == log.over
    assert codec.open_streams <= 3 or not codec.failed
    wire.Seen().feed(written)


@EXAMPLES
@given(TRAFFIC)
def test_only_the_peers_error_comes_out_of_a_client(traffic: bytes) -> None:
    codec, log = client()
    codec.take()
    written = feed(codec, wire.settings() + traffic, [])
    assert len(written) <= 200 + 2 * len(traffic)
    assert codec.failed == log.over


@EXAMPLES
@given(st.binary(max_size=200))
def test_bytes_that_are_no_http2(sent: bytes) -> None:
    codec, log = server()
    codec.receive(sent)
    assert codec.failed == (not wire.PREFACE.startswith(sent[:24])) or sent.startswith(wire.PREFACE)
    assert codec.failed == log.over


@EXAMPLES
@given(TRAFFIC, st.lists(st.integers(0, 2000), max_size=12), st.booleans())
def test_cuts_change_nothing(traffic: bytes, cuts: list[int], every_byte: bool) -> None:
    sent = wire.PREFACE + wire.settings() + traffic
    whole, first = server()
    parts, second = server()
    written = feed(whole, sent, [])
    assert feed(parts, sent, list(range(len(sent))) if every_byte else cuts) == written
    assert first.events == second.events
    assert first.counts == second.counts


@EXAMPLES
@given(st.binary(max_size=80), st.booleans())
def test_only_hpacks_error_comes_out_of_a_block(block: bytes, shrink: bool) -> None:
    decoder = Decoder()
    if shrink:
        decoder.set_limit(64)
    try:
        for piece in (block, block[::-1]):
            fields = decoder.decode(piece)
            assert len(fields) <= len(piece)
            assert decoder.size <= decoder.max_size <= 4096
    except HpackError:
        pass


NAMES = st.text(st.sampled_from("abcxyz-09"), min_size=1, max_size=80)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=300)


@EXAMPLES
@given(
    st.lists(st.tuples(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.none() | st.integers(0, 8192)), max_size=10)
)
def test_what_is_encoded_is_decoded(blocks: list[tuple[list[tuple[str, str]], int | None]]) -> None:
    encoder, decoder = Encoder(8192), Decoder()
    decoder.set_limit(8192)
    for fields, size in blocks:
        if size is not None:
            encoder.allow(size)
        for _ in range(2):
            assert decoder.decode(encoder.encode(fields)) == fields


# -- the same frames for `h2`


@dataclass(frozen=True)
class Action:
    """One frame, and the stream it's about."""

    sid: int
    kind: str
    sent: bytes


def _head(sid: int, end: bool, extra: list[tuple[str, str]]) -> Action:
    return Action(sid, "head", wire.headers(sid, wire.request("POST", extra=extra), 4 | end))


def _data(sid: int, end: bool, body: bytes, padding: int) -> Action:
    if padding < 0:
        return Action(sid, "data", wire.data(sid, body, int(end)))
    return Action(sid, "data", wire.frame(wire.DATA, 8 | end, sid, bytes((padding,)) + body + bytes(padding)))


ODD = st.sampled_from([1, 3, 5])
EXTRA = st.sampled_from(
    [[], [("x-a", "1"), ("x-a", "2")], [("content-length", "4")], [("te", "trailers")], [("connection", "x")]]
)
ACTIONS = st.lists(
    st.one_of(
        st.builds(_head, ODD, st.booleans(), EXTRA),
        st.builds(_head, ODD, st.just(False), st.just([])),
        st.builds(_data, ODD, st.booleans(), st.binary(min_size=1, max_size=5), st.integers(-3, 3)),
        st.builds(lambda sid: Action(sid, "head", wire.headers(sid, [("x-end", "1")])), ODD),
        st.builds(lambda sid: Action(sid, "reset", wire.rst(sid)), ODD),
        st.builds(lambda sid: Action(sid, "window", wire.window_update(sid, 9)), ODD),
        st.builds(lambda: Action(0, "window", wire.window_update(0, 9))),
        st.builds(lambda size: Action(0, "settings", wire.settings((4, size))), st.integers(0, 2**32 - 1)),
        st.builds(lambda: Action(0, "ping", wire.ping())),
        st.builds(lambda: Action(0, "unknown", wire.frame(0x42, 3, 9, b"x"))),
    ),
    max_size=15,
)


class Oracle:
    """`h2` as the server, its events in the words of `Log`."""

    def __init__(self) -> None:
        self.connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        )
        self.connection.local_settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = 16 * 1024 * 1024
        self.connection.initiate_connection()
        self.connection.receive_data(wire.PREFACE + wire.settings())
        self.expected: dict[int, int] = {}

    def receive(self, sent: bytes) -> list[Event] | None:
        """The events of one frame; None for an error."""
        try:
            events = self.connection.receive_data(sent)
        except h2.exceptions.ProtocolError:
            return None
        found: list[Event] = []
        for event in events:
            sid = getattr(event, "stream_id", 0)
            if isinstance(event, h2.events.RequestReceived):
                headers: list[tuple[Any, Any]] = list(event.headers)  # text, as `header_encoding` says
                pseudo = {name: value for name, value in headers if name.startswith(":")}
                head = tuple(pseudo[name] for name in (":method", ":scheme", ":authority", ":path"))
                fields = tuple((name, value) for name, value in headers if not name.startswith(":"))
                found.append(("head", sid, head, fields))
                self.expected[sid] = int(dict(fields).get("content-length", -1))
            elif isinstance(event, h2.events.DataReceived):
                found.append(("data", sid, event.data))
            elif isinstance(event, h2.events.TrailersReceived):
                found.append(("trailers", sid, tuple(event.headers)))
            elif isinstance(event, h2.events.StreamEnded):
                found.append(("end", sid))
            elif isinstance(event, h2.events.StreamReset):
                if not event.remote_reset:
                    return None
                found.append(("reset", sid, event.error_code))
        return found


@settings(max_examples=400)
@given(ACTIONS)
def test_h2_reads_the_same_messages(actions: list[Action]) -> None:
    codec, log = server()
    oracle = Oracle()
    codec.receive(wire.PREFACE + wire.settings())
    gone: set[int] = set()
    highest = 0
    updates = 0
    for action in actions:
        if action.sid in gone or (action.kind == "head" and action.sid < highest and action.sid not in log.heads):
            continue  # a stream that is closed: Envoy and we ignore what comes for it
        if action.kind in ("reset", "window") and action.sid and action.sid not in log.heads:
            continue  # an idle stream: an error (RFC 9113 section 5.1), which h2 lets pass
        updates += action.kind == "window"
        if updates > WINDOW_UPDATE_BASE:
            return  # a flood, to us
        highest = max(highest, action.sid if action.kind == "head" else 0)
        log.events.clear()
        log.events.append(("frame", 0))
        codec.receive(action.sent)
        ours = log.events[1:]
        theirs = oracle.receive(action.sent)
        failed = [event for event in ours if event[0] in ("failed", "error")]
        if theirs is None:
            assert failed, f"{action} is an error to h2, and {ours} to us"
            return
        if failed:
            # The one rule that h2 lacks: a length is wrong if the head already ends the stream.
            assert action.kind == "head", f"{action} is an error to us, and {theirs} to h2"
            assert oracle.expected.get(action.sid, -1) > 0
            return
        assert [event for event in ours if event[0] != "settings"] == theirs
        if action.kind == "reset":
            gone.add(action.sid)
