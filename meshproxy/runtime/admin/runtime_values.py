"""`/runtime` and `/runtime_modify`: the values of every layer, which of them counts, and how to change them."""

from __future__ import annotations

import json
from typing import Any

from meshproxy.errors import ConfigError
from meshproxy.runtime.admin.message import OK, AdminRequest, AdminResponse, parse_parameters
from meshproxy.runtime.process.layered_runtime import LayeredRuntime

_USAGE = (
    "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n"
    "       or send the parameters as form values\n"
    "use an empty value to remove a previously added override"
)


def render(runtime: LayeredRuntime) -> str:
    """The page, in JSON."""
    layers = runtime.loaded
    entries: dict[str, Any] = {}
    for key in sorted({key for _, values in layers for key in values}):
        texts = [values[key].text if key in values else "" for _, values in layers]
        final = next(values[key].text for _, values in reversed(layers) if key in values)
        entries[key] = {"layer_values": texts, "final_value": final}
    return json.dumps({"entries": entries, "layers": [name for name, _ in layers]}, indent=1) + "\n"


def modify(runtime: LayeredRuntime, request: AdminRequest) -> AdminResponse:
    """Set and take away values of the admin layer: those of the query, or without any those of a form."""
    parameters = dict(request.parameters)
    if not parameters and request.form:
        parameters = parse_parameters(request.body.decode("latin-1"))
    if not parameters:
        return AdminResponse(_USAGE, 400)
    if not runtime.has_admin_layer:
        return AdminResponse("No admin layer specified", 503)
    try:
        runtime.modify(parameters)
    except ConfigError as error:
        return AdminResponse(str(error), 503)
    return OK
