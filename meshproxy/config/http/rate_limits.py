"""`rate_limits` (envoy.config.route.v3.RateLimit): actions that describe a request to a limiter, as closures.

Envoy: "Route rate limit configuration". An action says one entry of the descriptor, says nothing (it is passed over),
or can't say what it should: then the whole limit doesn't apply to the request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from meshproxy.config.matching.matchers import compile_header_matcher, compile_query_matcher
from meshproxy.config.values.addresses import compile_address_matcher
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.formats import compile_text
from meshproxy.matching import FractionalPercent, decode_query, header_getter, wire_text
from meshproxy.model.rate_limit import Entries, RateLimit
from meshproxy.plugin.stream_info import StreamInfo, split_address
from meshproxy.plugin.view import ConfigView
from meshproxy.suggest import unsupported_extension

Entry = tuple[str, str]
Action = Callable[[Any], Entry | None]

_UNITS = {name: number for number, name in enumerate(("UNKNOWN", "SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR"))}
_EXPRESSION = "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"
SKIP: Entry = ("", "")
"""Said by an action that has no entry to give and doesn't mind."""


def compile_rate_limits(
    views: Sequence[ConfigView], context: CompileContext, *, of_filter: bool = False
) -> tuple[RateLimit, ...]:
    """Every entry of a `rate_limits`: of a route or virtual host, or of a filter, whose stage is its own and whose
    entries alone may weigh more than 1, as in Envoy. Raises ConfigError."""
    limits = tuple(_compile_limit(view, context) for view in views)
    if not of_filter:
        return tuple(replace(limit, hits=_once) for limit in limits)
    for view in views:
        for name in ("stage", "disable_key"):
            if view.has(name):
                view.fail("'stage' field and 'disable_key' field are not supported", name)
    return limits


def _once(stream: Any) -> int:
    return 1


def _compile_limit(view: ConfigView, context: CompileContext) -> RateLimit:
    disable_key = view.text("disable_key")
    key = f"ratelimit.{disable_key}.http_filter_enabled" if disable_key else ""
    enabled = context.runtime.share(key, FractionalPercent(100))
    addend, limit = view.view("hits_addend"), view.view("limit")
    return RateLimit(
        stage=view.integer("stage"),
        enabled=enabled.sampler(context.rng),
        describe=_describer([_compile_action(entry, context) for entry in view.views("actions")]),
        hits=_compile_hits(addend, context) if addend is not None else _once,
        override=_compile_override(limit) if limit is not None else None,
        at_end=view.boolean("apply_on_stream_done"),
    )


def _compile_override(view: ConfigView) -> Callable[[Any], tuple[int, int] | None]:
    """A struct of the dynamic metadata; one that isn't as it should be doesn't count."""
    find = _metadata_finder(view.required("dynamic_metadata").required("metadata_key"))

    def override(stream: Any) -> tuple[int, int] | None:
        found = find(stream.dynamic_metadata)
        if not isinstance(found, Mapping):
            return None
        requests, unit = found.get("requests_per_unit"), _UNITS.get(str(found.get("unit")))
        if unit is None or isinstance(requests, bool) or not isinstance(requests, int | float):
            return None
        return int(requests), unit

    return override


def _describer(actions: Sequence[Action]) -> Callable[[Any], Entries | None]:
    def describe(stream: Any) -> Entries | None:
        entries = []
        for action in actions:
            entry = action(stream)
            if entry is None:
                return None
            if entry is not SKIP:
                entries.append(entry)
        return tuple(entries)

    return describe


def _compile_hits(view: ConfigView, context: CompileContext) -> Callable[[Any], int | None]:
    text = view.text("format")
    if view.has("number"):
        number = view.integer("number")
        if text:
            view.fail("only one of 'number' and 'format' can be set", "format")
        return lambda stream: number
    try:
        say = context.formats.text(text)
    except ValueError as error:
        view.fail(str(error), "format")
    return lambda stream: _whole_number(say(stream))


def _whole_number(text: str) -> int | None:
    """The whole part of a decimal number that isn't negative; None for anything else."""
    whole, dot, fraction = text.strip(" ").partition(".")
    digits = whole + fraction
    if not whole or len(digits) > 19 or not (digits.isascii() and digits.isdigit()) or (dot and not fraction):
        return None
    return int(whole)


def _compile_action(view: ConfigView, context: CompileContext) -> Action:
    match view.which("action_specifier"):
        case "source_cluster":
            entry = ("source_cluster", wire_text(context.node.cluster))
            return lambda stream: entry
        case "destination_cluster":
            return lambda stream: ("destination_cluster", wire_text(stream.cluster_name))
        case "request_headers":
            return _of_header(view.required("request_headers"))
        case "query_parameters":
            return _of_query(view.required("query_parameters"))
        case "remote_address":
            return lambda stream: ("remote_address", ip) if (ip := _remote_ip(stream)) else None
        case "masked_remote_address":
            return _of_masked_address(view.required("masked_remote_address"))
        case "remote_address_match":
            return _of_matching_address(view.required("remote_address_match"), context)
        case "generic_key":
            inner = view.required("generic_key")
            constant = (_key(inner, "generic_key"), wire_text(inner.text("descriptor_value")))
            return lambda stream: constant
        case "header_value_match":
            return _of_matching_headers(view.required("header_value_match"))
        case "query_parameter_value_match":
            return _of_matching_query(view.required("query_parameter_value_match"))
        case "metadata" | "dynamic_metadata" as kind:
            return _of_metadata(view.required(kind), of_route=kind == "metadata")
        case "extension":
            return _of_extension(view.required("extension"), context)
        case other:
            view.fail(f"a rate limit action of the kind '{other}' isn't supported by meshproxy", other or "")


def _of_extension(view: ConfigView, context: CompileContext) -> Action:
    """A CEL expression: what it says is the value; whether it may fail is its own to say."""
    typed = view.any("typed_config")
    if typed is None or typed.view is None or typed.full_name != _EXPRESSION:
        view.fail(unsupported_extension(typed.full_name if typed is not None else "", (_EXPRESSION,)), "typed_config")
    from meshproxy.cel.expression import compile_text as compile_expression  # few configurations have expressions

    inner = typed.view
    key, missing = wire_text(inner.text("descriptor_key")), SKIP if inner.boolean("skip_if_error") else None
    try:
        evaluate = compile_expression(inner.text("text"), context.surroundings)
    except ValueError as error:
        inner.fail(str(error), "text")

    def action(stream: Any) -> Entry | None:
        value = evaluate(stream)
        return missing if value is None else (key, wire_text(value))

    return action


def _key(view: ConfigView, default: str) -> str:
    return wire_text(view.text("descriptor_key") or default)


def _missing(view: ConfigView) -> Entry | None:
    return SKIP if view.boolean("skip_if_absent") else None


def _of_header(view: ConfigView) -> Action:
    name, key, missing = view.text("header_name").lower(), _key(view, ""), _missing(view)
    read_pseudo = header_getter(name) if name.startswith(":") or name == "host" else None

    def action(stream: Any) -> Entry | None:
        request = stream.request
        # Of repeated fields Envoy takes the first.
        value = read_pseudo(request) if read_pseudo is not None else request.fields.get(name)
        return missing if value is None else (key, value)

    return action


def _of_query(view: ConfigView) -> Action:
    name, key, missing = wire_text(view.text("query_parameter_name")), _key(view, ""), _missing(view)

    def action(stream: Any) -> Entry | None:
        value = decode_query(stream.request.path).get(name)
        return missing if value is None else (key, value)

    return action


def _remote_ip(stream: StreamInfo) -> str:
    address = stream.remote_address or stream.connection.remote_address
    ip, port = split_address(address)
    return ip if ip != address or port else ""


def _of_masked_address(view: ConfigView) -> Action:
    lengths = {4: view.integer("v4_prefix_mask_len", 32), 6: view.integer("v6_prefix_mask_len", 128)}

    def action(stream: Any) -> Entry | None:
        ip = _remote_ip(stream)
        if not ip:
            return None
        network = ip_network(f"{ip}/{lengths[6 if ':' in ip else 4]}", strict=False)
        return "masked_remote_address", str(network)

    return action


def _of_matching_address(view: ConfigView, context: CompileContext) -> Action:
    """An address of the ranges, or of none of them; the value is a format, here alone."""
    key, default = _key(view, "remote_address_match"), wire_text(view.text("default_value"))
    say = compile_text(view, "descriptor_value", view.text("descriptor_value"), context, omit_empty_values=True)
    matches = compile_address_matcher(view.required("address_matcher"))

    def action(stream: Any) -> Entry | None:
        ip = _remote_ip(stream)
        if not ip or not matches(ip):
            return None
        value = say(stream) or default
        return (key, value) if value else None

    return action


def _of_matching_headers(view: ConfigView) -> Action:
    entry = (_key(view, "header_match"), wire_text(view.text("descriptor_value")))
    expected = view.boolean("expect_match", True)
    matchers = [compile_header_matcher(matcher) for matcher in view.views("headers")]
    return lambda stream: entry if all(matches(stream.request) for matches in matchers) is expected else None


def _of_matching_query(view: ConfigView) -> Action:
    entry = (_key(view, "query_match"), wire_text(view.text("descriptor_value")))
    expected = view.boolean("expect_match", True)
    matchers = [compile_query_matcher(matcher) for matcher in view.views("query_parameters")]

    def action(stream: Any) -> Entry | None:
        query = decode_query(stream.request.path)
        return entry if all(matches(query) for matches in matchers) is expected else None

    return action


def _of_metadata(view: ConfigView, *, of_route: bool) -> Action:
    """`metadata`, or the older `dynamic_metadata`, which only knows the stream's own."""
    key, default = _key(view, ""), wire_text(view.text("default_value"))
    read_route = of_route and view.enum("source") == "ROUTE_ENTRY"
    missing = _missing(view) if of_route else None
    find = _metadata_finder(view.required("metadata_key"))

    def action(stream: Any) -> Entry | None:
        found = find(stream.route_metadata if read_route else stream.dynamic_metadata)
        value = wire_text(found) if isinstance(found, str) and found else default
        return (key, value) if value else missing

    return action


def _metadata_finder(place: ConfigView) -> Callable[[Any], Any]:
    """`MetadataKey`: metadata -> the value there, None without one."""
    steps = (place.text("key"), *(segment.text("key") for segment in place.views("path")))

    def find(found: Any) -> Any:
        for step in steps:
            found = found.get(step) if isinstance(found, Mapping) else None
        return found

    return find
