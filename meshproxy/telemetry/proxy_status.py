"""`Proxy-Status` (RFC 9209): what went wrong with a response, as Envoy's `proxy_status_config` has it written.

The error follows from the response flags: the first row of the table whose flag is set, in Envoy's order.
"""

from __future__ import annotations

from meshproxy.headers import ResponseHeaders
from meshproxy.model.http import ProxyStatusConfig
from meshproxy.plugin.stream_info import StreamInfo

_ERRORS = {
    "LH": "destination_unavailable",
    "UH": "destination_unavailable",
    "UT": "http_response_timeout",
    "DT": "connection_timeout",
    "LR": "connection_timeout",
    "UR": "connection_terminated",
    "UF": "connection_refused",
    "UAEX": "connection_refused",
    "UC": "connection_terminated",
    "OM": "connection_limit_reached",
    "DO": "connection_limit_reached",
    "FI": "http_request_error",
    "DC": "connection_terminated",
    "DR": "connection_terminated",
    "UO": "connection_limit_reached",
    "NR": "destination_not_found",
    "RL": "connection_limit_reached",
    "RLSE": "connection_limit_reached",
    "URX": "destination_unavailable",
    "SI": "http_response_timeout",
    "IH": "http_request_error",
    "DPE": "http_request_error",
    "UMSDR": "http_response_timeout",
    "NFCF": "proxy_configuration_error",
    "UPE": "http_protocol_error",
    "NC": "destination_unavailable",
    "DF": "dns_error",
}
_RECOMMENDED = {
    "connection_limit_reached": 503,
    "connection_refused": 502,
    "connection_terminated": 502,
    "connection_timeout": 504,
    "destination_not_found": 500,
    "destination_unavailable": 503,
    "dns_error": 502,
    "http_protocol_error": 502,
    "http_response_timeout": 504,
    "proxy_configuration_error": 500,
}
_ESCAPES = str.maketrans({"\r": "\\r", "\n": "\\n", "\t": "\\t", '"': '\\"'})


def tell_status(config: ProxyStatusConfig, response: ResponseHeaders, info: StreamInfo) -> None:
    """Add to the head of `response` what the response flags of `info` say of this proxy, if they say anything."""
    given = info.flags.split(",")
    error = next((error for flag, error in _ERRORS.items() if flag in given), "")
    if not error:
        return
    told, before = _describe(error, config, info), response.get("proxy-status")
    response["proxy-status"] = f"{before}, {told}" if before else told
    if config.sets_status:
        response.status = _RECOMMENDED.get(error, response.status)


def _describe(error: str, config: ProxyStatusConfig, info: StreamInfo) -> str:
    described = f"{config.name}; error={error}"
    if not config.details or not info.details:
        return described
    details = [info.details]
    if config.termination_details and info.connection.termination_details:
        details.append(info.connection.termination_details)
    if config.flags:
        details.append(info.flags)
    return f'{described}; details="{"; ".join(details).translate(_ESCAPES)}"'
