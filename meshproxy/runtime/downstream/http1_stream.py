"""One request on an HTTP/1 connection: the stream with this codec's wire under it.

Heads and bodies that come in the same turn are joined and written once (`flush`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.codec.h1_encode import LAST_CHUNK, encode_chunk, encode_response_head, encode_trailers
from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.runtime.downstream.http_stream import HttpServerStream

if TYPE_CHECKING:
    from meshproxy.runtime.downstream.http1_connection import Http1Connection

_JOIN_BELOW = 65536


class Http1ServerStream(HttpServerStream):
    """See the module."""

    # Read with every piece that is written, so they are slots (see `HttpServerStream`); set as soon as `on_wire` is.
    __slots__ = ("_bodiless", "_chunked", "_head", "_left")

    codec = "HTTP/1.1"
    owner: Http1Connection
    _read_disabled: int = 0
    _reads_anyway: int = 0

    def read_disable(self, disable: bool) -> None:
        # What comes behind a complete request is bounded elsewhere, and a client that isn't read can leave unnoticed.
        if disable:
            if self.request_received:
                self._reads_anyway += 1
            elif not self.done:
                self._read_disabled += 1
                self.owner.connection.read_disable(True)
        elif self._reads_anyway:
            self._reads_anyway -= 1
        elif self._read_disabled:
            self._read_disabled -= 1
            self.owner.connection.read_disable(False)

    def request_ended(self, now: float) -> None:
        """The request has come whole."""
        self.request_received = True
        self.request_complete = now
        while self._read_disabled:
            self._read_disabled -= 1
            self._reads_anyway += 1
            self.owner.connection.read_disable(False)

    def make_successor(self, end: bool) -> Http1ServerStream:
        return Http1ServerStream(self.owner, self.request, end, self.last_activity)

    def send_informational(self, response: ResponseHeaders) -> None:
        if not self.owner.manager.config.proxy_100_continue and not self.expected_here:
            return  # as Envoy: a 1xx of the upstream ends here unless it was asked for
        if not self.done and not self.on_wire:
            head, _ = encode_response_head(response, True, self.request.method, self.owner.parser.http10)
            self.owner.write(head)
            self.owner.manager.stats.codes[response.status] += 1
            self.response_code = response.status

    def accept_upgrade(self) -> None:
        super().accept_upgrade()
        self.owner.parser.switch_to_raw()

    # The wire.

    def encode_headers(self, response: ResponseHeaders, end: bool) -> None:
        owner = self.owner
        self._head = b""
        self._left = -1
        fields = response.fields
        upgraded = self.raw and response.status == 101
        now = owner.worker.loop.time()
        self.complete_head(response, now, upgraded=upgraded)
        self.response_code = status = response.status
        method = self.request.method
        parser = owner.parser
        keep_alive = not self._must_close(end)
        names = response.written or owner.names
        try:
            if status < 200 and not upgraded:
                raise ValueError(f"{status} ends no request")
            head, self._chunked = encode_response_head(
                response, end, method, parser.http10, keep_alive or upgraded, names
            )
            self._bodiless = method == "HEAD" or status == 204 or status == 304
            if (
                "content-length" in fields
                and (self.details != "via_upstream" or self.plan.response_headers or self.plan.response_body)
                and not self._bodiless
            ):
                self._left = int(fields["content-length"])
                if end and self._left:
                    raise ValueError("a Content-Length, and no body")
        except Exception as error:  # filters have made of it what can't be written
            self._replace_unwritable(error)
            return
        if owner.meter is not None:
            owner.meter.head_sent(self, head)
        if not parser.keep_alive or (parser.http10 and b"\r\nconnection: close\r\n" in head):
            self.close_after = True
        owner.manager.stats.codes[status] += 1
        if end:
            owner.write(head)
            self._finish(now)
        else:
            self._head = head

    def _replace_unwritable(self, error: Exception) -> None:
        """Nothing of the response has been written: say that something went wrong, and close."""
        owner = self.owner
        owner.worker.log.error("response can't be written", error=repr(error), request_id=self.request_id)
        self.details = "response_unwritable"
        self.response_code = 500
        self.response = ResponseHeaders(500)
        self.close_after = True
        head, _ = encode_response_head(self.response, True, http10=owner.parser.http10, keep_alive=False)
        owner.manager.stats.codes[500] += 1
        owner.write(head)
        self._finish(owner.worker.loop.time())

    def _must_close(self, end: bool) -> bool:
        """Whether this response is the connection's last, so that its head must say so."""
        owner = self.owner
        if not self.request_received and not self.raw:
            owner.manager.stats.count_early_response()
            self.close_after = True
        if self.close_after or not owner.parser.keep_alive:
            return True
        if self.raw_wanted and not self.raw:
            if self.request_received:
                owner.manager.stats.count_early_response()
            self.close_after = True
            return True
        worker = owner.worker
        if owner.draining or worker.health_failed or worker.drain.active or worker.departures:
            return self._leaves()
        return False

    def _leaves(self) -> bool:
        """`_must_close` while something goes away, or may."""
        owner = self.owner
        worker, stats = owner.worker, owner.manager.stats
        if owner.draining or worker.closes(owner.connection):
            # The connection stays for the drain time, for what the client has sent already.
            if not owner.draining:
                stats.cx_drain_close.value += 1
            owner.begin_drain()
            return True
        if worker.overload is not None and worker.overload.ends_keepalive():
            stats.cx_overload_disable_keepalive.value += 1
            self.close_after = True
            return True
        return False

    def encode_body(self, data: bytes, end: bool) -> None:
        if self._bodiless:
            data = b""
        elif self._left >= 0:
            self._left -= len(data)
            if self._left < 0 or (end and self._left):
                # Somebody has made the body longer or shorter than the head says: no next response may follow it.
                self.reset("response_length_mismatch")
                return
        self.bytes_sent += len(data)
        if self._chunked:
            data = (encode_chunk(data) if data else b"") + (LAST_CHUNK if end else b"")
        owner = self.owner
        if self._head:
            # Head and body came in one turn, so the head's time is the body's too.
            now = self.first_downstream_tx
            head, self._head = self._head, b""
            if len(data) < _JOIN_BELOW:
                data = head + data
            else:
                owner.write(head)
        else:
            now = owner.worker.loop.time()
        if data:
            owner.write(data)
        if end:
            self._finish(now)
        else:
            self.last_activity = now

    def encode_trailers(self, trailers: Headers) -> None:
        if not self._chunked or not self.owner.manager.config.http1.enable_trailers:
            self.encode_body(b"", True)
            return
        self.flush()
        self.owner.write(encode_trailers(trailers, self.owner.names))
        self._finish(self.owner.worker.loop.time())

    def flush(self) -> None:
        if self.on_wire and self._head:
            head, self._head = self._head, b""
            self.owner.write(head)

    def cut(self) -> None:
        # On HTTP/1 only the end of the connection can say that a response is incomplete.
        self.owner.manager.stats.rq_rx_reset.value += 1  # as Envoy, which takes its own reset for one
        self.close_after = True
        self._finish(self.owner.worker.loop.time(), cut=True)

    def _finish(self, now: float, cut: bool = False) -> None:
        """The response has been written: tell everybody, then let the connection go on or end."""
        owner = self.owner
        if not cut:
            self.last_downstream_tx = now
        while self._read_disabled > 0:
            self._read_disabled -= 1
            owner.connection.read_disable(False)
        self._complete(now)
        owner.stream_finished(self, cut)

    def share_bytes(self) -> None:
        assert self.owner.meter is not None
        self.owner.meter.share(self, self.owner.parser)
