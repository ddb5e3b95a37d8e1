"""A management server that is polled over HTTP (`api_type: REST`): a `Source` for one subscription.

Each poll POSTs a DiscoveryRequest as JSON and gets a DiscoveryResponse as JSON; the version of the last one is told
with the next, so that a server may answer 304. What it says is used by the state-of-the-world protocol's own state
machine. Between two polls lies the refresh delay and up to as much again, drawn anew each time, as in Envoy: a thousand
proxies that were started at once mustn't ask at once for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf import json_format

from meshproxy.config.text.proto_tree import TreeReader
from meshproxy.config.text.yaml_tree import compose
from meshproxy.errors import ConfigError
from meshproxy.headers import RequestHeaders
from meshproxy.messages.by_name import message_class
from meshproxy.model.grpc_service import ApiSource
from meshproxy.plugin.context import FetchError
from meshproxy.runtime.discovery.decoder import decode_in_steps
from meshproxy.runtime.discovery.names import nack_message
from meshproxy.runtime.discovery.pace import paced
from meshproxy.runtime.discovery.sources import Host, Sink
from meshproxy.runtime.fetch import fetch
from meshproxy.xds.sotw import SotwMux
from meshproxy.xds.types import DISCOVERY, RESOURCE_TYPES

_MAX_BODY = 256 * 1024 * 1024


class RestSource:
    """One subscription (`Subscription` too)."""

    def __init__(
        self,
        host: Host,
        api: ApiSource,
        type_url: str,
        names: Sequence[str],
        sink: Sink,
        when_closed: Callable[[RestSource], None],
    ) -> None:
        self._when_closed = when_closed
        self._host = host
        self._api = api
        self._type_url = type_url
        self._sink = sink
        decoder = host.unknown_fields.decoder(decode_in_steps)
        self._mux = SotwMux(host.node, decoder, nack_message, host.log, lambda: None)
        self._watch = self._mux.watch(type_url, names, sink)
        self._response: Any = message_class(f"{DISCOVERY}DiscoveryResponse")
        self._trouble = ""
        self._polling = host.loop.create_task(self._poll())

    async def _poll(self) -> None:
        api = self._api
        while True:
            self._sink.attempted()
            trouble = await self._ask()
            if trouble and trouble != self._trouble:
                self._host.log.warning("a management server gave nothing", cluster=api.cluster, error=trouble)
            self._trouble = trouble
            await asyncio.sleep(api.refresh_delay * (1.0 + self._host.rng.random()))

    async def _ask(self) -> str:
        """One poll; what went wrong, or ""."""
        api = self._api
        body = json_format.MessageToJson(
            self._mux.poll(self._type_url), preserving_proto_field_name=True, indent=None
        ).encode()
        fields = (("content-type", "application/json"),)
        request = RequestHeaders("POST", RESOURCE_TYPES[self._type_url].rest, api.cluster, fields=fields)
        try:
            reply = await fetch(self._host, api.cluster, request, body, api.request_timeout, _MAX_BODY, True)
        except FetchError as error:
            return self._fail("connection", str(error))
        if reply.status == 304:
            return ""
        if reply.status != 200:
            return self._fail("connection", f"status {reply.status}")
        try:
            response = self._read(reply.body)
        except ConfigError as error:
            return self._fail("rejected", str(error))
        # What the response is a response to is known: it was asked for one type.
        response.type_url = self._type_url
        await paced(self._mux.receive(response, self._host.loop.time()), self._host.pace, self._host.clock.now)
        return ""

    def _read(self, body: bytes) -> Any:
        """The response in a body. Raises ConfigError."""
        text = body.decode("utf-8", "replace")
        source = f"cluster '{self._api.cluster}'"
        response = self._response()
        reader = TreeReader(source, size=len(text), json=True, allow_unknown=True)
        reader.read(compose(text, source, json=True), response)
        if reader.problems:
            raise ConfigError(reader.problems)
        return response

    def _fail(self, reason: str, detail: str) -> str:
        self._sink.failed(reason, detail)
        return detail

    def close(self) -> None:
        """See `Subscription`."""
        self._polling.cancel()
        self._watch.close()
        self._when_closed(self)

    def describe(self) -> dict[str, Any]:
        """What there is to know of it."""
        state = self._mux.state(self._type_url)
        return {"type": RESOURCE_TYPES[self._type_url].label, "version": state.version, "error": state.error}
