"""The format compiler of this package in the shape in which `config` asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshproxy.model.listener import NO_EXTENSIONS, FormatExtensions, LineFormatter
from meshproxy.model.route import ValueFormatter
from meshproxy.telemetry.formatter import compile_header, compile_json, compile_text
from meshproxy.telemetry.operand import FormatContext

MEASURED = frozenset(
    {
        "COMMON_DURATION",
        "DOWNSTREAM_CX_RTT",
        "REQUEST_TX_DURATION",
        "UPSTREAM_CONNECTION_POOL_READY_DURATION",
        *(
            f"{side}_{kind}_BYTES_{way}"
            for side in ("DOWNSTREAM", "UPSTREAM")
            for kind in ("HEADER", "DECOMPRESSED_HEADER", "WIRE")
            for way in ("RECEIVED", "SENT")
        ),
    }
)
"""The operators whose values are noted only when a format has one of them."""
_OF_ROUTES = frozenset({"ROUTE_RESOLUTION_COUNT", "ROUTE_RESOLUTION_TIME_US"})


class Formats:
    """Compiles Envoy's substitution formats. All methods raise ValueError for a bad format."""

    def __init__(self, context: FormatContext) -> None:
        self._context = context

    def measures(self) -> bool:
        """Whether a format that has been compiled so far asks for one of `MEASURED`."""
        return not MEASURED.isdisjoint(self._context.operators)

    def measures_routes(self) -> bool:
        """The same of how a stream's route was found."""
        return not _OF_ROUTES.isdisjoint(self._context.operators)

    def text(
        self, text: str, *, omit_empty_values: bool = False, extensions: FormatExtensions = NO_EXTENSIONS
    ) -> LineFormatter:
        return compile_text(text, self._context, omit_empty_values, extensions).render

    def json(
        self, value: Mapping[str, Any], *, omit_empty_values: bool = False, extensions: FormatExtensions = NO_EXTENSIONS
    ) -> LineFormatter:
        return compile_json(value, self._context, omit_empty_values, extensions).render

    def header(self, text: str) -> str | ValueFormatter:
        formatter = compile_header(text, self._context)
        return formatter.render if formatter.constant is None else formatter.constant
