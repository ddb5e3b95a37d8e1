"""Endpoints of a cluster (envoy.config.endpoint.v3.ClusterLoadAssignment)."""

from __future__ import annotations

from meshproxy.address import Address, SocketAddress, is_ip, make_address
from meshproxy.config.matching.matchers import compile_fraction
from meshproxy.config.text.plain_endpoints import plain_assignment
from meshproxy.config.values.addresses import compile_address, compile_host_and_port, compile_socket_address
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.metadata import compile_metadata
from meshproxy.model.endpoint import NO_DROPS, NO_LOCALITY, Assignment, DropOverload, Endpoint, HealthStatus, Locality
from meshproxy.plugin import reading_record
from meshproxy.plugin.view import ConfigView


def compile_assignment(view: ConfigView, context: CompileContext, *, names: bool) -> Assignment:
    """`ClusterLoadAssignment`. names: addresses may be names, to be resolved. Problems are noted in the context."""
    if not reading_record.active:
        plain = plain_assignment(view.peek())
        if plain is not None:
            view.raw()
            return plain
    view.text("cluster_name")
    endpoints: list[Endpoint] = []
    groups = view.views("endpoints")
    for group in groups:
        with group.collect(context.problems):
            endpoints += _compile_group(group, context, names)
    policy = view.view("policy")
    if policy is None:
        return Assignment(tuple(endpoints), len(groups))
    return Assignment(
        tuple(endpoints),
        len(groups),
        policy.integer("overprovisioning_factor", 140),
        _compile_drop(policy),
        policy.seconds("endpoint_stale_after", 0.0),
    )


def _compile_drop(policy: ConfigView) -> DropOverload:
    """`drop_overloads`, of which Envoy takes but one."""
    entries = policy.views("drop_overloads")
    if not entries:
        return NO_DROPS
    if len(entries) > 1:
        entries[1].fail("Cluster drop_overloads config has more than one category, which is not supported")
    category = entries[0].text("category")
    percentage = entries[0].view("drop_percentage")
    if percentage is None:
        return DropOverload(0.0, category)
    fraction = compile_fraction(percentage)
    if fraction.numerator > fraction.denominator:
        percentage.fail(f"{fraction.numerator} of {fraction.denominator} are more than all", "numerator")
    return DropOverload(100.0 * fraction.numerator / fraction.denominator, category)


def compile_locality(view: ConfigView | None) -> Locality:
    """`core.v3.Locality`."""
    if view is None:
        return NO_LOCALITY
    return Locality(view.text("region"), view.text("zone"), view.text("sub_zone"))


def _compile_group(view: ConfigView, context: CompileContext, names: bool) -> list[Endpoint]:
    locality = compile_locality(view.view("locality"))
    weight = view.integer("load_balancing_weight")
    priority = view.integer("priority")
    endpoints = []
    for entry in view.views("lb_endpoints"):
        with entry.collect(context.problems):
            endpoints.append(_compile_endpoint(entry, locality, weight, priority, names))
    return endpoints


def _compile_endpoint(
    view: ConfigView, locality: Locality, locality_weight: int, priority: int, names: bool
) -> Endpoint:
    if view.which("host_identifier") != "endpoint":
        view.fail("a named endpoint isn't supported by meshproxy" if view.has("endpoint_name") else "no endpoint")
    endpoint = view.required("endpoint")
    address = _compile_upstream_address(endpoint.required("address"), names)
    health_check = endpoint.view("health_check_config")
    checked_at = health_check.view("address") if health_check is not None else None
    checked_port = health_check.integer("port_value") if health_check is not None else 0
    if checked_port and health_check is not None and checked_at is None and not isinstance(address, SocketAddress):
        health_check.fail("Invalid host configuration: non-zero port for non-IP address", "port_value")
    return Endpoint(
        address=address,
        weight=view.integer("load_balancing_weight", 1),
        hostname=endpoint.text("hostname") or _name_to_resolve(address),
        locality=locality,
        locality_weight=locality_weight,
        priority=priority,
        health_status=HealthStatus.__members__.get(view.enum("health_status"), HealthStatus.UNKNOWN),
        metadata=compile_metadata(view, "metadata"),
        health_check_port=checked_port,
        health_check_hostname=health_check.text("hostname") if health_check is not None else "",
        health_check_address=compile_address(checked_at) if checked_at is not None else None,
        more_addresses=tuple(
            compile_socket_address(each.required("address").required("socket_address"))
            for each in endpoint.views("additional_addresses")
        ),
        health_check_disabled=health_check.boolean("disable_active_health_check")
        if health_check is not None
        else False,
    )


def _name_to_resolve(address: Address) -> str:
    return address.ip if isinstance(address, SocketAddress) and not is_ip(address.ip) else ""


def _compile_upstream_address(view: ConfigView, names: bool) -> Address:
    if not names:
        return compile_address(view)
    socket_address = view.view("socket_address")
    if socket_address is None:
        compile_address(view)
        view.fail("an endpoint that is found by DNS has a name or an IP address")
    host, port = compile_host_and_port(socket_address)
    return make_address(host, port) if is_ip(host) else SocketAddress(host, port)
