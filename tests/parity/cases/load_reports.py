"""client_side_weighted_round_robin: hosts that say how busy they are, in each of the forms that a report can have.

One host is a million times lighter than the other, so that chance has no say once the reports count: the first two
requests go to either, all later ones to the one that has nothing to do.
"""

from __future__ import annotations

from base64 import b64encode

from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport

from ..case import Case, Upstream, get

_EXT = "type.googleapis.com/envoy.extensions.load_balancing_policies"
_ENDPOINT = "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $%s_port}}}}"


def policy(more: str) -> str:
    return (
        f"{{policies: [{{typed_extension_config: {{name: p, typed_config: {{'@type': {_EXT}.client_side_weighted_round_robin.v3."
        f"ClientSideWeightedRoundRobin, blackout_period: 0s, weight_update_period: 0.05s{more}}}}}}}]}}"
    )


def by_locality(inner: str) -> str:
    return (
        f"{{policies: [{{typed_extension_config: {{name: w, typed_config: {{'@type': {_EXT}.wrr_locality.v3.WrrLocality, "
        f"endpoint_picking_policy: {inner}}}}}}}]}}"
    )


def answers(body: str, report: str, trailers: str = "") -> Upstream:
    """Always the same report; the body is `first` for the first request, then `body`."""
    heads = [f"HTTP/1.1 200 OK\r\n{report}transfer-encoding: chunked\r\n\r\n" for _ in range(2)]
    first, later = (
        (f"{head}{len(text):x}\r\n{text}\r\n0\r\n{trailers}\r\n",)
        for head, text in zip(heads, ("first", body), strict=True)
    )
    return Upstream((first, later))


def reported(name: str, idle: str, busy: str, *, more: str = "", trailers: bool = False, wrap: bool = False) -> Case:
    chosen = by_locality(policy(more)) if wrap else policy(more)
    weight = "load_balancing_weight: 1, " if wrap else ""
    options = "http_protocol_options: {enable_trailers: true}, " if trailers else ""
    upstreams = {
        "up": answers("idle", *(("", idle) if trailers else (idle,))),
        "up2": answers("busy", *(("", busy) if trailers else (busy,))),
    }
    return Case(
        f"load-report-{name}",
        (*(x for _ in range(2) for x in (get(), 0.05)), 0.4, *(x for _ in range(4) for x in (get(), 0.05))),
        upstreams=upstreams,
        routes="- match: {prefix: /}\n  route: {cluster: $case.many}\n",
        clusters=(
            f"- {{name: $case.many, {options}load_balancing_policy: {chosen}, load_assignment: {{cluster_name: c, endpoints: "
            f"[{{{weight}lb_endpoints: [{_ENDPOINT % 'up'}, {_ENDPOINT % 'up2'}]}}]}}}}"
        ),
        merge_upstreams=True,
        sort_log=True,
        timing=False,
        masks=((r"endpoint-load-metrics.*", "<report>"),),
        shows="idle",
    )


def binary(rps: float, cpu: float) -> str:
    return b64encode(OrcaLoadReport(rps_fractional=rps, cpu_utilization=cpu).SerializeToString()).decode()


def text(load: str) -> str:
    return f"endpoint-load-metrics: TEXT {load}\r\n"


CASES = [
    reported("text", text("rps_fractional:1000000,cpu_utilization:1"), text("rps_fractional:1,cpu_utilization:1")),
    reported("spaces", text("rps_fractional: 9e6 , cpu_utilization: 1"), text("rps_fractional:1 , cpu_utilization:1")),
    reported(
        "json",
        'endpoint-load-metrics: JSON {"rps_fractional": 1000000, "cpu_utilization": 1}\r\n',
        'endpoint-load-metrics: JSON {"rpsFractional": 1, "cpuUtilization": 1}\r\n',
    ),
    reported(
        "binary",
        f"endpoint-load-metrics: BIN {binary(1e6, 1)}\r\n",
        f"endpoint-load-metrics-bin: {binary(1, 1)}\r\n",
    ),
    reported(
        "application",
        text("rps_fractional:1000,cpu_utilization:1,application_utilization:0.001"),
        text("rps_fractional:1000,cpu_utilization:0.0001,application_utilization:1000"),
    ),
    reported(
        "named-metrics",
        text("rps_fractional:1000,named_metrics.depth:0.001,cpu_utilization:1000"),
        text("rps_fractional:1000,named_metrics.depth:1000,cpu_utilization:0.001"),
        more=", metric_names_for_computing_utilization: [named_metrics.depth]",
    ),
    reported(
        "any-named-metric",
        text("rps_fractional:1000,named_metrics.a:0.0001,named_metrics.b:0.001,cpu_utilization:1000"),
        text("rps_fractional:1000,named_metrics.a:1000,named_metrics.b:0.001,cpu_utilization:0.001"),
        more=", metric_names_for_computing_utilization: ['named_metrics.*']",
    ),
    reported(
        "errors",
        text("rps_fractional:100000,cpu_utilization:0.1,eps:0"),
        text("rps_fractional:100000,cpu_utilization:0.1,eps:100000"),
        more=", error_utilization_penalty: 1000000",
    ),
    reported(
        "weight-zero", text("rps_fractional:1000000,cpu_utilization:1"), text("rps_fractional:1,cpu_utilization:9")
    ),
    reported(
        "trailers",
        text("rps_fractional:1000000,cpu_utilization:1"),
        text("rps_fractional:1,cpu_utilization:1"),
        trailers=True,
    ),
    reported(
        "locality",
        text("rps_fractional:1000000,cpu_utilization:1"),
        text("rps_fractional:1,cpu_utilization:1"),
        wrap=True,
    ),
]
