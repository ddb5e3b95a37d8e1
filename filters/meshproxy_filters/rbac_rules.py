"""The rules of role-based access control, compiled to one function (envoy.config.rbac.v3).

A policy holds for a request when one of its permissions and one of its principals do. Policies are asked in the order
of their names, as in Envoy, because the name of the first that holds goes into logs and metadata.

What can't be decided must not be decided: a rule of a kind that isn't known here is a fault of the configuration,
never one that matches nothing (in a DENY policy that would let everybody in). The same holds for rules about a request
where there is only a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from meshproxy.address import CidrRange
from meshproxy.inlining import compile_choice, inlined
from meshproxy.matching import StringMatcher
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.path_template import read_path_template
from meshproxy.plugin.stream_info import StreamInfo, TlsInfo, split_address

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView, TypedView

Rule = Callable[[Any], bool]
"""Of a `Stream`, or of the `StreamInfo` of a connection."""

_PORTS = 65536
_ABOUT_REQUESTS = ("header", "url_path")

# What a matcher may look at where requests are decided on: what is known before anybody has answered.
_NETWORK = "envoy.extensions.matching.common_inputs.network.v3."
_TLS = "envoy.extensions.matching.common_inputs.ssl.v3."
_HTTP_INPUTS = (
    *(
        f"{_NETWORK}{name}Input"
        for name in ("DestinationIP", "DestinationPort", "SourceIP", "SourcePort", "DirectSourceIP")
    ),
    *(f"{_NETWORK}{name}Input" for name in ("ServerName", "FilterState", "DynamicMetadata")),
    *(f"{_TLS}{name}Input" for name in ("UriSan", "DnsSan", "Subject")),
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
    "xds.type.matcher.v3.HttpAttributesCelMatchInput",
)


class Verdict(NamedTuple):
    """passes: the request may go on. policy: the name of what held, "" for nothing. log: whether the access log is to
    take note; None where nobody asks for that."""

    passes: bool
    policy: str
    log: bool | None


Rules = Callable[[Any], Verdict]
"""What decides, of a `Stream` or of the `StreamInfo` of a connection."""


def read_rules(view: ConfigView, kind: str, context: FactoryContext, *, requests: bool = True) -> Rules | None:
    """The enforced rules of an rbac filter (kind "") or its shadow rules ("shadow_"); a matcher goes before rules.

    None: it has none. Raises ConfigError.
    """
    matcher = view.view(f"{kind}matcher")
    rules = view.view(f"{kind}rules")
    if matcher is not None:
        if rules is not None:
            rules.raw()
        return _compile_matcher(matcher, context, requests)
    return None if rules is None else compile_rules(rules, context, requests=requests)


def _compile_matcher(view: ConfigView, context: FactoryContext, requests: bool) -> Rules:
    """A matcher tree whose actions are (name, action). Where it gives nothing the request is refused."""
    actions: set[str] = set()

    def compile_action(typed: TypedView) -> tuple[str, str]:
        message = typed.message("envoy.config.rbac.v3.Action")
        action = message.enum("action")
        actions.add(action)
        return message.text("name"), action

    if requests:
        match = context.compile_http_matcher(view, compile_action, _HTTP_INPUTS)
    else:
        match = context.compile_network_matcher(view, compile_action)
    logs = "LOG" in actions

    def decide(stream: Any) -> Verdict:
        found = match(stream)
        if found is None:
            return Verdict(False, "", None)
        name, action = found
        return Verdict(action != "DENY", name, action == "LOG" if logs else None)

    return decide


def compile_rules(view: ConfigView, context: FactoryContext, *, requests: bool = True) -> Rules:
    """`config.rbac.v3.RBAC`. requests: whether there are requests to decide about. Raises ConfigError."""
    action = view.enum("action")
    log = action == "LOG"
    policies = []
    for name, policy in sorted(view.view_map("policies").items()):
        permissions = [_permission(entry, context, requests) for entry in policy.views("permissions")]
        principals = [_principal(entry, context, requests) for entry in policy.views("principals")]
        condition = _condition(policy, context)
        rules = (_any(permissions), _any(principals), *((condition,) if condition is not None else ()))
        policies.append((_all(rules), Verdict(action != "DENY", name, True if log else None)))
    return compile_choice(policies, Verdict(action != "ALLOW", "", False if log else None))


def _condition(policy: ConfigView, context: FactoryContext) -> Rule | None:
    """A CEL expression that must be true as well. What can't be evaluated for a request isn't."""
    options = policy.view("cel_config")
    condition = policy.view("condition")
    if condition is None:
        checked = policy.view("checked_condition")
        condition = checked.required("expr") if checked is not None else None
    return None if condition is None else context.compile_expression(condition, options)


def _all(rules: Sequence[Rule]) -> Rule:
    if len(rules) == 1:
        return rules[0]
    return inlined(
        lambda stream: all(rule(stream) for rule in rules),
        lambda stream, source: " and ".join([source.test(rule, stream) for rule in rules]) or "True",
    )


def _any(rules: Sequence[Rule]) -> Rule:
    if len(rules) == 1:
        return rules[0]
    return inlined(
        lambda stream: any(rule(stream) for rule in rules),
        lambda stream, source: " or ".join([source.test(rule, stream) for rule in rules]) or "False",
    )


def _not(rule: Rule) -> Rule:
    return inlined(lambda stream: not rule(stream), lambda stream, source: f"not {source.test(rule, stream)}")


_always = inlined(lambda stream: True, lambda stream, source: "True")


def _template_rule(view: ConfigView) -> Rule:
    template = read_path_template(view)
    return lambda stream: template.matches(stream.request.path.partition("?")[0].partition("#")[0])


def _permission(view: ConfigView, context: FactoryContext, requests: bool) -> Rule:
    match view.which("rule"):
        case "any":
            view.boolean("any")
            return _always
        case "and_rules":
            return _all([_permission(entry, context, requests) for entry in view.required("and_rules").views("rules")])
        case "or_rules":
            return _any([_permission(entry, context, requests) for entry in view.required("or_rules").views("rules")])
        case "not_rule":
            return _not(_permission(view.required("not_rule"), context, requests))
        case "destination_ip":
            return _address_rule(view, "destination_ip", lambda stream: stream.connection.local_ip)
        case "destination_port":
            port = view.integer("destination_port")
            return inlined(
                lambda stream: stream.connection.local_port == port,
                lambda stream, _: f"{stream}.connection.local_port == {port}",
            )
        case "destination_port_range":
            bounds = view.required("destination_port_range")
            start, end = bounds.integer("start"), bounds.integer("end")
            if start >= end:
                bounds.fail(f"range start {start} cannot be greater or equal than range end {end}")
            if start < 0 or end > _PORTS:
                bounds.fail(f"ports {start} to {end} aren't all between 0 and {_PORTS}")
            return lambda stream: start <= stream.connection.local_port < end
        case "requested_server_name":
            matches = context.compile_string_matcher(view.required("requested_server_name"))
            return lambda stream: matches(stream.connection.requested_server_name)
        case "uri_template" if requests:
            return _template_rule(view.required("uri_template"))
        case "header" | "url_path" | "metadata" | "sourced_metadata" as kind:
            if kind in _ABOUT_REQUESTS and not requests:
                view.fail(f"a connection has no request for the rule '{kind}' to look at", kind)
            return _shared_rule(view, kind, context)
        case other:
            view.fail(f"a permission of the kind '{other}' isn't supported by meshproxy", other or "")


def _principal(view: ConfigView, context: FactoryContext, requests: bool) -> Rule:
    match view.which("identifier"):
        case "any":
            view.boolean("any")
            return _always
        case "and_ids":
            return _all([_principal(entry, context, requests) for entry in view.required("and_ids").views("ids")])
        case "or_ids":
            return _any([_principal(entry, context, requests) for entry in view.required("or_ids").views("ids")])
        case "not_id":
            return _not(_principal(view.required("not_id"), context, requests))
        case "authenticated":
            return _authenticated_rule(view.required("authenticated"), context)
        case "source_ip":
            return _address_rule(view, "source_ip", lambda stream: stream.connection.remote_ip)
        case "direct_remote_ip":
            return _address_rule(view, "direct_remote_ip", lambda stream: stream.connection.direct_remote_ip)
        case "remote_ip":
            return _address_rule(view, "remote_ip", _remote_ip)
        case "filter_state":
            return context.compile_filter_state_matcher(view.required("filter_state"))
        case "header" | "url_path" | "metadata" | "sourced_metadata" as kind:
            if kind in _ABOUT_REQUESTS and not requests:
                view.fail(f"a connection has no request for the rule '{kind}' to look at", kind)
            return _shared_rule(view, kind, context)
        case other:
            view.fail(f"a principal of the kind '{other}' isn't supported by meshproxy", other or "")


def _remote_ip(stream: StreamInfo) -> str:
    return split_address(stream.remote_address)[0] if stream.remote_address else stream.connection.remote_ip


def _address_rule(view: ConfigView, field: str, read: Callable[[StreamInfo], str]) -> Rule:
    range_view = view.required(field)
    try:
        cidr = CidrRange.parse(range_view.text("address_prefix"), range_view.integer("prefix_len"))
    except ValueError as error:
        range_view.fail(str(error))

    def holds(stream: Any) -> bool:
        ip = read(stream)
        return bool(ip) and cidr.contains(ip)

    return holds


def _shared_rule(view: ConfigView, kind: str, context: FactoryContext) -> Rule:
    """The kinds that permissions and principals have in common."""
    if kind == "header":
        matches_header = context.compile_header_matcher(view.required("header"))
        return inlined(
            lambda stream: matches_header(stream.request),
            lambda stream, source: source.test(matches_header, f"{stream}.request"),
        )
    if kind == "url_path":
        path = view.required("url_path").view("path")
        if path is None:
            view.fail("field 'path' is required", "url_path")
        return _path_rule(context.compile_string_matcher(path), path)
    if kind == "sourced_metadata":
        return _sourced_metadata_rule(view.required("sourced_metadata"), context)
    return _metadata_rule(view.required("metadata"), context)


def _path_rule(matches: StringMatcher, pattern: ConfigView) -> Rule:
    """On the path as it is before the query and the fragment."""
    prefix = pattern.text("prefix") if pattern.which("match_pattern") == "prefix" else "?"
    if "?" not in prefix and "#" not in prefix:  # whatever follows the path then makes no difference
        return inlined(
            lambda stream: matches(stream.request.path),
            lambda stream, source: source.test(matches, f"{stream}.request.path"),
        )
    return lambda stream: matches(stream.request.path.partition("?")[0].partition("#")[0])


def _authenticated_rule(view: ConfigView, context: FactoryContext) -> Rule:
    """The peer has proven who it is; as in Envoy its URI names are asked, then its DNS names, then its subject."""
    name = view.view("principal_name")
    if name is None:
        return lambda stream: stream.connection.tls is not None
    matches = context.compile_string_matcher(name)

    def holds(stream: Any) -> bool:
        tls: TlsInfo | None = stream.connection.tls
        if tls is None:
            return False
        return any(map(matches, (*tls.peer_uri_sans, *tls.peer_dns_sans))) or matches(tls.peer_subject)

    return holds


def _metadata_rule(view: ConfigView, context: FactoryContext, *, of_route: bool = False) -> Rule:
    """`type.matcher.v3.MetadataMatcher`, on the stream's dynamic metadata or on that of its route."""
    matches = context.compile_metadata_matcher(view)
    if of_route:
        return lambda stream: matches(stream.route.metadata if stream.route is not None else None)
    return lambda stream: matches(stream.dynamic_metadata)


def _sourced_metadata_rule(view: ConfigView, context: FactoryContext) -> Rule:
    of_route = view.enum("metadata_source") == "ROUTE"
    return _metadata_rule(view.required("metadata_matcher"), context, of_route=of_route)
