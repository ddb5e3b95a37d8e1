"""What is done about fields of resources that this version of the API doesn't have, as Envoy's options have it.

`--reject-unknown-dynamic-fields` refuses the response that has one, `--ignore-unknown-dynamic-fields` says nothing, and
without either the log and `server.dynamic_unknown_fields` tell of each field once. Endpoints are too many to be looked
through for a warning; they are when it's for refusing them.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshproxy.config.text.unknown_fields import drop_unknown_fields, unknown_fields
from meshproxy.model.discovery import CLUSTER, ENDPOINTS, ROUTES
from meshproxy.plugin.context import Logger
from meshproxy.plugin.stats import Counter
from meshproxy.steps import Steps
from meshproxy.xds.watch import DecodeError, Decoder, Unpacked

_TOLD = 1000
_MANY = frozenset((CLUSTER, ROUTES))  # of these what is inside of an `Any` isn't looked through for a warning


class UnknownFields:
    """counter: of those that were told of."""

    def __init__(self, counter: Counter, log: Logger, *, reject: bool = False, ignore: bool = False) -> None:
        self._counter = counter
        self._log = log
        self.reject = reject
        self._ignore = ignore
        self._told: set[str] = set()

    def tell(self, found: Iterable[str]) -> None:
        """Warn of fields, each once."""
        if self._ignore:
            return
        for field in found:
            if field not in self._told and len(self._told) < _TOLD:
                self._told.add(field)
                self._counter.inc()
                self._log.warning("a field that isn't known here is ignored", field=field)

    def decoder(self, decode: Decoder) -> Decoder:
        """A decoder that looks for them."""
        if self._ignore:
            return decode

        def decode_and_look(type_url: str, packed: bytes) -> Steps[Unpacked]:
            unpacked = yield from decode(type_url, packed)
            if self.reject:
                for field in unknown_fields(unpacked.message):
                    raise DecodeError(f"Protobuf message ({field}) has unknown fields")
            elif type_url != ENDPOINTS:
                self._look(type_url, packed, unpacked)
            return unpacked

        return decode_and_look

    def _look(self, type_url: str, packed: bytes, unpacked: Unpacked) -> None:
        message = unpacked.message
        if type_url not in _MANY:
            self.tell(unknown_fields(message))
        elif drop_unknown_fields(message):
            self.tell(unknown_fields(type(message).FromString(packed)))
