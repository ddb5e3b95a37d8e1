"""Endpoints of the drill that speak HTTP/2: the moods of `endpoints`, as far as a stream can have them."""

from __future__ import annotations

import asyncio
import contextlib

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived, StreamReset
from h2.exceptions import ProtocolError

from tests.drill.endpoints import DAWDLING, Endpoint, Mood

_OK = [(":status", "200"), ("content-length", "2")]


class Http2Endpoint(Endpoint):
    """CUTS and BREAKS_OFF end the stream alone; HALF_CLOSES says with GOAWAY that no more are taken."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        wire = H2Connection(H2Configuration(client_side=False))
        wire.initiate_connection()
        writer.write(wire.data_to_send())
        answers: dict[int, asyncio.Task[None]] = {}  # also of streams that are over
        try:
            with contextlib.suppress(OSError, ProtocolError):
                while data := await reader.read(65536):
                    for event in wire.receive_data(data):
                        if isinstance(event, RequestReceived):
                            sid = event.stream_id
                            answers[sid] = asyncio.create_task(self._answer_stream(wire, writer, sid))
                        elif isinstance(event, StreamReset) and (waiting := answers.pop(event.stream_id, None)):
                            waiting.cancel()
                    writer.write(wire.data_to_send())
        finally:
            for waiting in tuple(answers.values()):
                waiting.cancel()
            self._writers.discard(writer)
            writer.close()

    async def _answer_stream(self, wire: H2Connection, writer: asyncio.StreamWriter, sid: int) -> None:
        while self.mood is Mood.HANGS:
            await asyncio.sleep(0.05)
        mood = self.mood
        if mood is Mood.RESETS:
            writer.transport.abort()
            return
        if mood is Mood.DAWDLES:
            await asyncio.sleep(DAWDLING)
        with contextlib.suppress(ProtocolError):
            if mood is Mood.ERRORS:
                wire.send_headers(sid, [(":status", "503")], end_stream=True)
            elif mood in (Mood.CUTS, Mood.BREAKS_OFF):
                wire.send_headers(sid, _OK)
                if mood is Mood.CUTS:
                    wire.send_data(sid, b"o")
                wire.reset_stream(sid, ErrorCodes.INTERNAL_ERROR)
            else:
                self.served += 1
                wire.send_headers(sid, _OK)
                wire.send_data(sid, b"ok", end_stream=True)
                if mood is Mood.HALF_CLOSES:
                    wire.close_connection()
            writer.write(wire.data_to_send())
