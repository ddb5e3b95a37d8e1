"""Flag values to options and settings: every value is read here, once, and what contradicts itself is refused.

What has to be found out about the pod (its addresses, its resolvers, the proxy's uid) comes through `Surroundings`,
so that this module is pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from . import options as o
from .errors import OptionsError
from .flags import Value, boolean
from .options import Options

Format = Literal["iptables-restore", "nft", "explain"]
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h))+")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the pod looks like, asked only when a flag leaves it open.

    has_ipv6(dual_stack): whether the pod speaks IPv6 as its first language (or, with dual_stack, at all).
    resolvers(): IPv4 and IPv6 addresses of /etc/resolv.conf. user_id(name): the uid, None without such a user.
    """

    has_ipv6: Callable[[bool], bool]
    resolvers: Callable[[], tuple[tuple[str, ...], tuple[str, ...]]]
    user_id: Callable[[str], int | None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How the run goes. Times in seconds; `lock_file` "" is the tool's own."""

    dry_run: bool
    format: Format
    dry_run_file: str
    native_nftables: bool
    force_binary: Literal["", "legacy", "nft"]
    cleanup_only: bool
    reconcile: bool
    force_apply: bool
    run_validation: bool
    skip_rule_apply: bool
    probe_port: int
    probe_timeout: float
    network_namespace: str
    cni_mode: bool
    lock_file: str


def read(values: Mapping[str, Value], around: Surroundings) -> tuple[Options, Settings, tuple[str, ...]]:
    """Options, settings and warnings. Raises OptionsError, with the flag, for what can't be used."""
    settings = _settings(values)
    options, warnings = _options(values, around)
    _refuse_contradictions(values, options, settings)
    return options, settings, (*warnings, *_warnings(values, options))


def _settings(values: Mapping[str, Value]) -> Settings:
    def flag(name: str) -> bool:
        return boolean(values[name])

    native = flag("native-nftables")
    namespace = values["network-namespace"].text
    return Settings(
        dry_run=flag("dry-run"),
        format=_format(values["format"], native),
        dry_run_file=values["dry-run-file-path"].text,
        native_nftables=native,
        force_binary=_binary(values["force-iptables-binary"]),
        cleanup_only=flag("cleanup-only"),
        reconcile=flag("reconcile"),
        force_apply=flag("force-apply"),
        run_validation=flag("run-validation"),
        skip_rule_apply=flag("skip-rule-apply"),
        probe_port=_port(values["iptables-probe-port"]),
        probe_timeout=parse_duration(values["probe-timeout"].text, values["probe-timeout"].source),
        network_namespace=namespace,
        cni_mode=flag("cni-mode"),
        lock_file=values["xtables-lockfile"].text or namespace,
    )


def _options(values: Mapping[str, Value], around: Surroundings) -> tuple[Options, tuple[str, ...]]:
    inbound_all, inbound_ports = o.parse_ports_or_all(*_both(values["istio-inbound-ports"]))
    outbound_all, outbound_cidrs = o.parse_cidrs_or_all(*_both(values["istio-service-cidr"]))
    uids = _owners(values["proxy-uid"]) or (_default_uid(values["envoy-user"].text, around),)
    dns, warnings = _dns(values, around)
    return Options(
        proxy_port=_port(values["envoy-port"]),
        inbound_capture_port=_port(values["inbound-capture-port"]),
        inbound_tunnel_port=_port(values["inbound-tunnel-port"]),
        proxy_uids=uids,
        proxy_gids=_owners(values["proxy-gid"]) or uids,
        tproxy=_mode(values["istio-inbound-interception-mode"]),
        inbound_all=inbound_all,
        inbound_ports=inbound_ports,
        inbound_ports_exclude=_ports(values["istio-local-exclude-ports"]),
        exclude_interfaces=_interfaces(values["istio-exclude-interfaces"]),
        virtual_interfaces=_interfaces(values["kube-virt-interfaces"]),
        outbound_all=outbound_all,
        outbound_cidrs=outbound_cidrs,
        outbound_cidrs_exclude=o.parse_list(*_both(values["istio-service-exclude-cidr"]), o.parse_cidr),
        outbound_ports=_ports(values["istio-outbound-ports"]),
        outbound_ports_exclude=_ports(values["istio-local-outbound-ports-exclude"]),
        tproxy_mark=o.parse_number(*_both(values["istio-inbound-tproxy-mark"]), 1, 2**32 - 1),
        tproxy_table=o.parse_number(*_both(values["istio-inbound-tproxy-route-table"]), 1, 2**32 - 1),
        dns=dns.on,
        dns_all=dns.all,
        dns_servers_v4=dns.v4,
        dns_servers_v6=dns.v6,
        drop_invalid=boolean(values["drop-invalid"]),
        ipv6=_ipv6(values, around),
        loopback_cidr=o.parse_loopback_cidr(*_both(values["istio-outbound-ipv4-loopback-cidr"])),
        owner_groups=o.parse_owner_groups(*_both(values["istio-outbound-owner-groups"])),
        owner_groups_exclude=o.parse_excluded_groups(*_both(values["istio-outbound-owner-groups-exclude"])),
    ), warnings


@dataclass(frozen=True, slots=True)
class _Dns:
    on: bool
    all: bool = False
    v4: tuple[str, ...] = ()
    v6: tuple[str, ...] = ()


def _dns(values: Mapping[str, Value], around: Surroundings) -> tuple[_Dns, tuple[str, ...]]:
    v4 = o.parse_list(*_both(values["dns-servers-v4"]), o.parse_server(4))
    v6 = o.parse_list(*_both(values["dns-servers-v6"]), o.parse_server(6))
    if not boolean(values["redirect-dns"]):
        return _Dns(False), ()
    if boolean(values["capture-all-dns"]):
        return _Dns(True, all=True), ()
    if not values["dns-servers-v4"].given and not values["dns-servers-v6"].given:
        v4, v6 = around.resolvers()
    if not v4 and not v6:
        warning = "--redirect-dns is set, but there is no resolver to capture: DNS is not captured"
        return _Dns(False), (warning,)
    return _Dns(True, v4=v4, v6=v6), ()


def _refuse_contradictions(values: Mapping[str, Value], options: Options, settings: Settings) -> None:
    def refuse(name: str, other: str, why: str) -> None:
        raise OptionsError(values[name].source, f"contradicts {values[other].source}: {why}")

    if settings.native_nftables and settings.force_binary:
        refuse("force-iptables-binary", "native-nftables", "native nftables uses no iptables binary")
    if settings.native_nftables and settings.format == "iptables-restore" and settings.dry_run:
        refuse("format", "native-nftables", "native nftables has no iptables-restore text")
    for name in ("force-apply", "run-validation", "skip-rule-apply"):
        if settings.cleanup_only and boolean(values[name]):
            refuse(name, "cleanup-only", "it removes the rules")
    if settings.skip_rule_apply and settings.force_apply:
        refuse("force-apply", "skip-rule-apply", "one installs, the other does not")
    if boolean(values["capture-all-dns"]) and not boolean(values["redirect-dns"]):
        refuse("capture-all-dns", "redirect-dns", "DNS capture is off")
    if options.owner_groups is not None and options.owner_groups_exclude:
        name = "istio-outbound-owner-groups"
        refuse(f"{name}-exclude", name, "name the groups to capture, or those not to capture")
    _refuse_common(values, options.outbound_ports, options.outbound_ports_exclude, "port", _OUTBOUND_PORTS)
    _refuse_common(values, options.inbound_ports, options.inbound_ports_exclude, "port", _INBOUND_PORTS)
    _refuse_common(values, options.exclude_interfaces, options.virtual_interfaces, "interface", _INTERFACES)
    ports = (options.proxy_port, options.inbound_capture_port, options.inbound_tunnel_port)
    if len(set(ports)) < len(ports):
        refuse("inbound-capture-port", "envoy-port", "outbound, inbound and tunnel port must differ")


_OUTBOUND_PORTS = ("istio-local-outbound-ports-exclude", "istio-outbound-ports")
_INBOUND_PORTS = ("istio-local-exclude-ports", "istio-inbound-ports")
_INTERFACES = ("istio-exclude-interfaces", "kube-virt-interfaces")


def _refuse_common(
    values: Mapping[str, Value], a: tuple[object, ...], b: tuple[object, ...], what: str, names: tuple[str, str]
) -> None:
    common = [str(item) for item in a if item in b]
    if common:
        source, other = (values[name].source for name in names)
        raise OptionsError(source, f"contradicts {other}: {what} {common[0]} stands in both")


def _warnings(values: Mapping[str, Value], options: Options) -> tuple[str, ...]:
    found = []
    for name, ids in (("proxy-uid", options.proxy_uids), ("proxy-gid", options.proxy_gids)):
        if len(ids) > 1:
            found.append(
                f"{values[name].source} lists {', '.join(ids)}: only {ids[0]} gets the hairpin. A call of the "
                "application to its own service that leaves the proxy under another id goes to the application "
                "directly, past the inbound listener and its policy"
            )
    if options.inbound_ports_exclude and not options.inbound_all:
        found.append(f"{values['istio-local-exclude-ports'].source} has no effect without --istio-inbound-ports='*'")
    if options.dns and not options.dns_all and options.dns_servers_v6 and not options.ipv6:
        found.append("resolvers with IPv6 addresses are not captured: IPv6 is off")
    if not options.ipv6 and any(cidr.version == 6 for cidr in options.outbound_cidrs):
        found.append(f"{values['istio-service-cidr'].source} names IPv6 networks, and IPv6 is off: not captured")
    both = [str(cidr) for cidr in options.outbound_cidrs if cidr in options.outbound_cidrs_exclude]
    if both:
        found.append(f"{values['istio-service-exclude-cidr'].source} also excludes {', '.join(both)}: not captured")
    return tuple(found)


def parse_duration(text: str, source: str) -> float:
    """Go's notation (`5s`, `1m30s`, `500ms`) in seconds; more than nothing."""
    if not _DURATION.fullmatch(text):
        raise OptionsError(source, f"{text!r} is not a duration such as 5s or 500ms")
    parts = re.findall(r"([0-9.]+)(ns|us|µs|ms|s|m|h)", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds <= 0:
        raise OptionsError(source, "must be more than nothing")
    return seconds


def _both(value: Value) -> tuple[str, str]:
    return value.text, value.source


def _port(value: Value) -> int:
    return o.parse_port(*_both(value))


def _ports(value: Value) -> tuple[int, ...]:
    if "*" in o.split(value.text):
        raise OptionsError(value.source, "'*' can't stand here: name the ports")
    return o.parse_list(*_both(value), o.parse_port)


def _owners(value: Value) -> tuple[str, ...]:
    return o.parse_list(*_both(value), o.parse_owner)


def _interfaces(value: Value) -> tuple[str, ...]:
    return o.parse_list(*_both(value), o.parse_interface)


def _default_uid(user: str, around: Surroundings) -> str:
    uid = around.user_id(user)
    return "1337" if uid is None else str(uid)


def _mode(value: Value) -> bool:
    if value.text not in ("", "REDIRECT", "TPROXY"):
        raise OptionsError(value.source, f"{value.text!r} is neither REDIRECT nor TPROXY")
    return value.text == "TPROXY"


def _ipv6(values: Mapping[str, Value], around: Surroundings) -> bool:
    value = values["ipv6"]
    if value.text not in ("auto", "on", "off"):
        raise OptionsError(value.source, f"{value.text!r} is none of auto, on, off")
    dual_stack = boolean(values["dual-stack"])
    if dual_stack and value.text == "off":
        raise OptionsError(value.source, f"contradicts {values['dual-stack'].source}: dual stack needs IPv6")
    return value.text == "on" or (value.text == "auto" and around.has_ipv6(dual_stack))


def _binary(value: Value) -> Literal["", "legacy", "nft"]:
    match value.text:
        case "" | "legacy" | "nft" as binary:
            return binary
    raise OptionsError(value.source, f"{value.text!r} is neither legacy nor nft")


def _format(value: Value, native: bool) -> Format:
    match value.text:
        case "":
            return "nft" if native else "iptables-restore"
        case "iptables-restore" | "nft" | "explain" as name:
            return name
    raise OptionsError(value.source, f"{value.text!r} is none of iptables-restore, nft, explain")
