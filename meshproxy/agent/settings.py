"""What is wanted of the agent: Istio's environment variables and `PROXY_CONFIG`, read once and checked.

`PROXY_CONFIG` is the JSON (or YAML) of Istio's `ProxyConfig`; it stands above the mesh's `defaultConfig` and below the
pod's annotation `proxy.istio.io/config`. `proxyMetadata` in it sets variables that the environment doesn't. What can't
be read is an error that names its variable, all of them at once; fields of `ProxyConfig` that mean nothing here are
named in a warning, as a control plane may be newer than its sidecars.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from meshproxy.address import parse_address
from meshproxy.agent.application.application_health import HealthProbe, read_health_probe
from meshproxy.agent.bootstrap_stats import read_buckets, read_inclusions
from meshproxy.agent.pod_files import NO_FILES, PodFiles
from meshproxy.agent.unsupported import unsupported_variables
from meshproxy.errors import ConfigError, Problem
from meshproxy.records import dataclass

T = TypeVar("T")

_TRUE, _FALSE = frozenset(("1", "true", "t", "yes")), frozenset(("0", "false", "f", "no", ""))
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|us|ns|h|m|s)", re.ASCII)
_PROXY_ANNOTATION = "proxy.istio.io/config"
_ISTIOD = "istiod.istio-system.svc:15012"
"""Istio's own default. The injector leaves out of `PROXY_CONFIG` what is as it is by default, mostly all of it."""
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_READ = _words(
    "configPath discoveryAddress drainDuration terminationDrainDuration statusPort proxyAdminPort concurrency"
    " serviceCluster customConfigFile tracing proxyMetadata interceptionMode proxyStatsMatcher runtimeValues"
    " statsdUdpAddress fileFlushInterval fileFlushMinSizeKb readinessProbe"
)
_OTHERS = _words(
    "binaryPath parentShutdownDuration proxyBootstrapTemplatePath holdApplicationUntilProxyStarts image meshId"
    " availabilityZone statNameLength controlPlaneAuthPolicy gatewayTopology extraStatTags proxyHeaders"
)
"""What concerns the injector, the control plane (which reads it in the node's metadata), or another binary, or is done
anyway."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the agent and the parts of the bootstrap that it writes listen; 0 switches one off."""

    admin: int = 15000
    status: int = 15020
    ready: int = 15021
    prometheus: int = 15090
    dns: int = 15053


@dataclass(frozen=True, slots=True)
class Drain:
    """How the proxy is ended. Seconds.

    duration: `--drain-time-s`. termination: how long an ended pod goes on serving.
    until_idle: wait instead until no connection is left, but no less than `minimum` and no longer than `deadline`.
    """

    duration: float = 45.0
    termination: float = 5.0
    until_idle: bool = False
    minimum: float = 5.0
    deadline: float = 300.0


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Everything that the agent's parts ask for.

    delta_xds: the control plane is asked for changes, and not for everything each time.
    dual_stack: listen on addresses of both families, not only on those of `ip`'s.
    outlier_log: the file that ejections of hosts are logged in. bootstrap_override: the text of a file that is merged
    over the bootstrap. health: how the application is probed for the control plane, None if it isn't. with_proxy: start
    one; without, the agent serves an application that speaks to the mesh itself. grpc_bootstrap: the file that gRPC is
    told in how to do that.
    metadata: `node.metadata`. variables: the environment, `proxyMetadata` beneath it.
    """

    role: str = "sidecar"
    pod_name: str = "meshproxy"
    namespace: str = "default"
    ip: str = "127.0.0.1"
    dual_stack: bool = False
    service_account: str = "default"
    domain: str = ""
    trust_domain: str = "cluster.local"
    cluster_id: str = "Kubernetes"
    service_cluster: str = ""
    discovery_address: str = ""
    config_path: str = "./etc/istio/proxy"
    custom_config_file: str = ""
    concurrency: int | None = None
    ports: Ports = Ports()
    drain: Drain = Drain()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tracing: Mapping[str, Any] = field(default_factory=dict)
    stats_inclusions: Mapping[str, list[str]] = field(default_factory=dict)
    stats_buckets: Mapping[str, list[float]] = field(default_factory=dict)
    statsd_address: tuple[str, int] | None = None
    log_flush_interval: float = 1.0
    log_flush_kb: int | None = None
    outlier_log: str = ""
    bootstrap_override: str = ""
    runtime_values: Mapping[str, Any] = field(default_factory=dict)
    dns_capture: bool = False
    dns_table: str = ""
    delta_xds: bool = True
    health: HealthProbe | None = None
    with_proxy: bool = True
    grpc_bootstrap: str = ""
    warnings: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def node_id(self) -> str:
        """`TYPE~IP~NAME.NAMESPACE~DOMAIN`, as istiod takes it apart."""
        return f"{self.role}~{self.ip}~{self.pod_name}.{self.namespace}~{self.domain}"

    @property
    def certificate_directory(self) -> str:
        """Where the workload's key, certificate and root are written."""
        return self.variables.get("OUTPUT_CERTS") or f"{self.config_path}/certs"

    @property
    def spiffe_id(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


def relay_socket(settings: AgentSettings) -> Path:
    """Where the proxy asks the agent for its configuration."""
    return Path(settings.config_path) / "XDS"


def parse_duration(text: str) -> float:
    """Seconds of a Go or protobuf duration (`45s`, `1m30s`, `500ms`). Raises ValueError."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"'{text}' is not a duration such as 45s or 1m30s")
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))


def parse_flag(text: str) -> bool:
    """Raises ValueError for what is neither true nor false."""
    lowered = text.lower()
    if lowered not in _TRUE | _FALSE:
        raise ValueError(f"'{text}' is neither true nor false")
    return lowered in _TRUE


def parse_port(text: str) -> int:
    """A port, or 0. Raises ValueError."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ValueError(f"'{text}' is not a port")
    return int(text)


class _Reader:
    """Takes values out of the environment and of `PROXY_CONFIG`, and gathers what is wrong with them."""

    def __init__(self, variables: Mapping[str, str], pod: PodFiles) -> None:
        self.problems: list[Problem] = [Problem("", message, file) for file, message in pod.problems.items()]
        self.annotations = pod.annotations or {}
        self.proxy: dict[str, Any] = {}
        given: dict[str, str] = {}
        for place, config in (
            ("PROXY_CONFIG", dict(pod.default_config)),
            ("PROXY_CONFIG", self._proxy_config("PROXY_CONFIG", variables.get("PROXY_CONFIG", ""))),
            (_PROXY_ANNOTATION, self._proxy_config(_PROXY_ANNOTATION, self.annotations.get(_PROXY_ANNOTATION, ""))),
        ):
            self.proxy |= config
            metadata = config.get("proxyMetadata") or {}
            if isinstance(metadata, dict):
                given |= {str(name): str(value) for name, value in metadata.items()}
            else:
                self._complain(f"{place}.proxyMetadata", "is not a mapping")
        self.variables = {**given, **variables}

    def _complain(self, place: str, message: str) -> None:
        self.problems.append(Problem(place, message, "environment"))

    def _proxy_config(self, place: str, text: str) -> dict[str, Any]:
        try:
            parsed = yaml.safe_load(text) if text.strip() else {}
        except (yaml.YAMLError, RecursionError) as error:
            self._complain(place, f"can't be read: {' '.join(str(error).split())[:200]}")
            return {}
        if not isinstance(parsed, dict):
            self._complain(place, "is not a mapping")
            return {}
        return {str(name): value for name, value in parsed.items()}

    def made_of(self, place: str, default: T, make: Callable[[], T]) -> T:
        """What `make` returns; what it raises (ValueError and its like) is complained about."""
        try:
            return make()
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            self._complain(place, str(error))
            return default

    def variable(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        text = self.variables.get(name, "")
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self._complain(name, str(error))
            return default

    def option(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        """A field of `PROXY_CONFIG`."""
        value = self.proxy.get(name)
        if value is None:
            return default
        try:
            return parse(str(value))
        except ValueError as error:
            self._complain(f"PROXY_CONFIG.{name}", str(error))
            return default

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.proxy.get(name)
        if value is None or isinstance(value, dict):
            return value or {}
        self._complain(f"PROXY_CONFIG.{name}", "is not a mapping")
        return {}

    def metadata(self) -> dict[str, Any]:
        """`node.metadata` out of `ISTIO_META_*` (text) and `ISTIO_METAJSON_*`."""
        found: dict[str, Any] = {}
        for name, value in sorted(self.variables.items()):
            if name.startswith("ISTIO_META_"):
                found[name.removeprefix("ISTIO_META_")] = value
            elif name.startswith("ISTIO_METAJSON_"):
                try:
                    parsed = json.loads(value)
                except (ValueError, RecursionError) as error:
                    self._complain(name, f"is not JSON: {error}")
                    continue
                key = name.removeprefix("ISTIO_METAJSON_")
                if key.startswith("METADATA") and isinstance(parsed, dict):
                    found.update(parsed)
                else:
                    found[key] = parsed
        return found


def read_settings(
    variables: Mapping[str, str],
    *,
    role: str = "sidecar",
    domain: str = "",
    service_cluster: str = "",
    pod: PodFiles = NO_FILES,
    outlier_log: str = "",
    addresses: Sequence[str] = (),
) -> AgentSettings:
    """The settings of an environment. role: "sidecar", "router" or "waypoint". outlier_log: see `AgentSettings`.
    service_cluster: over `PROXY_CONFIG`'s.

    addresses: of this machine, beside the one that the environment names.

    Raises ConfigError with every problem found.
    """
    reader = _Reader(variables, pod)
    env = reader.variables.get
    namespace = env("POD_NAMESPACE", "default")
    service_account = env("SERVICE_ACCOUNT", "default")
    ports = Ports(
        admin=reader.option("proxyAdminPort", 15000, parse_port),
        status=reader.option("statusPort", 15020, parse_port),
        ready=reader.variable("ENVOY_STATUS_PORT", 15021, parse_port),
        prometheus=reader.variable("ENVOY_PROMETHEUS_PORT", 15090, parse_port),
        dns=reader.variable("DNS_PROXY_ADDR", 15053, lambda text: parse_port(text.rpartition(":")[2])),
    )
    drain = _read_drain(reader)
    custom_config = reader.option("customConfigFile", "", str)
    metadata = reader.metadata()
    pod_name, ip = env("POD_NAME", "meshproxy"), env("INSTANCE_IP", "") or env("POD_IP", "127.0.0.1")
    cluster_id = metadata.get("CLUSTER_ID", "Kubernetes")
    for name, value in (
        ("NAME", pod_name),
        ("NAMESPACE", namespace),
        ("SERVICE_ACCOUNT", service_account),
        ("CLUSTER_ID", cluster_id),
        ("INSTANCE_IPS", ",".join(dict.fromkeys((ip, *addresses)))),
        ("ENVOY_STATUS_PORT", ports.ready),
        ("ENVOY_PROMETHEUS_PORT", ports.prometheus),
        ("INTERCEPTION_MODE", reader.option("interceptionMode", "REDIRECT", str)),
        ("ISTIO_VERSION", "1.29.6"),
    ):
        metadata.setdefault(name, value)
    for name, entries in (("LABELS", pod.labels), ("ANNOTATIONS", pod.annotations)):
        if entries is not None:
            metadata[name] = dict(entries)
    if reader.proxy:
        metadata.setdefault("PROXY_CONFIG", {k: v for k, v in reader.proxy.items() if k != "proxyMetadata"})
    settings = AgentSettings(
        role=role,
        pod_name=pod_name,
        namespace=namespace,
        ip=ip,
        dual_stack=reader.variable("ISTIO_DUAL_STACK", False, parse_flag),
        service_account=service_account,
        domain=domain or f"{namespace}.svc.cluster.local",
        trust_domain=env("TRUST_DOMAIN", "cluster.local"),
        cluster_id=str(cluster_id),
        service_cluster=service_cluster
        or reader.option("serviceCluster", "", str)
        or f"{metadata.get('WORKLOAD_NAME', 'istio-proxy')}.{namespace}",
        discovery_address=reader.option("discoveryAddress", "" if custom_config else _ISTIOD, str),
        config_path=reader.option("configPath", "./etc/istio/proxy", str),
        custom_config_file=custom_config,
        concurrency=reader.option("concurrency", None, _count),
        ports=ports,
        drain=drain,
        metadata=metadata,
        tracing=reader.mapping("tracing"),
        stats_inclusions=reader.made_of(
            "PROXY_CONFIG.proxyStatsMatcher",
            {},
            lambda: read_inclusions(reader.mapping("proxyStatsMatcher"), reader.annotations),
        ),
        stats_buckets=reader.made_of(
            "sidecar.istio.io/statsHistogramBuckets", {}, lambda: read_buckets(reader.annotations)
        ),
        statsd_address=reader.option("statsdUdpAddress", None, _ip_and_port),
        log_flush_interval=reader.option("fileFlushInterval", 1.0, parse_duration),
        log_flush_kb=reader.option("fileFlushMinSizeKb", None, _count),
        outlier_log=outlier_log,
        bootstrap_override=reader.variable("ISTIO_BOOTSTRAP_OVERRIDE", "", _content),
        runtime_values=reader.mapping("runtimeValues"),
        dns_capture=reader.variable("ISTIO_META_DNS_CAPTURE", False, parse_flag),
        dns_table=env("DNS_NAME_TABLE", ""),
        delta_xds=reader.variable("ISTIO_DELTA_XDS", True, parse_flag),
        with_proxy=not reader.variable("DISABLE_ENVOY", False, parse_flag),
        grpc_bootstrap=env("GRPC_XDS_BOOTSTRAP", ""),
        health=reader.made_of(
            "PROXY_CONFIG.readinessProbe", None, lambda: read_health_probe(reader.mapping("readinessProbe"))
        ),
        warnings=[
            *unsupported_variables(reader.variables),
            *(
                f"PROXY_CONFIG.{name} means nothing to meshproxy"
                for name in sorted(reader.proxy)
                if name not in _READ | _OTHERS
            ),
        ],
        variables=reader.variables,
    )
    if reader.problems:
        raise ConfigError(reader.problems)
    return settings


def _read_drain(reader: _Reader) -> Drain:
    termination = reader.option("terminationDrainDuration", 5.0, parse_duration)
    return Drain(
        duration=reader.option("drainDuration", 45.0, parse_duration),
        termination=reader.variable("TERMINATION_DRAIN_DURATION_SECONDS", termination, float),
        until_idle=reader.variable("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", False, parse_flag),
        minimum=reader.variable("MINIMUM_DRAIN_DURATION", 5.0, parse_duration),
        deadline=reader.variable("MESHPROXY_DRAIN_DEADLINE", 300.0, parse_duration),
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"'{text}' is not a number")
    return int(text)


def _content(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


def _ip_and_port(text: str) -> tuple[str, int]:
    address = parse_address(text)
    return address.ip, address.port
