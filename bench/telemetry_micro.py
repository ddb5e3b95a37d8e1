"""What telemetry costs per request, in microseconds: the smallest of several rounds, so that noise counts least.

python bench/telemetry_micro.py
"""

from __future__ import annotations

import asyncio
import itertools
import random
import timeit
from collections.abc import Callable

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.plugin.stream_info import ConnectionInfo, StreamInfo
from meshproxy.runtime.reporting.access_log_files import AccessLogFiles
from meshproxy.telemetry.formatter import compile_json, compile_text
from meshproxy.telemetry.operand import FormatContext
from meshproxy.telemetry.request_id import id_source
from meshproxy.telemetry.stats import StatsStore

ISTIO = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)


def example() -> StreamInfo:
    """A stream as it is when its log line is due."""
    info = StreamInfo()
    info.connection = ConnectionInfo()
    info.connection.local_address = "10.0.0.7:8080"
    info.connection.remote_address = "10.0.0.9:40312"
    info.connection.connection_id = 7
    fields = [("user-agent", "curl/8"), ("accept", "*/*"), ("x-request-id", "f2c36604-1b60-4a7b-9c5e-0a7f6d0f6f11")]
    info.request = RequestHeaders("GET", "/products/7?x=1", "shop.test", "http", fields)
    info.response = ResponseHeaders(200, [("x-envoy-upstream-service-time", "3")])
    info.protocol, info.response_code, info.details = "HTTP/1.1", 200, "via_upstream"
    info.start_wall, info.start, info.end, info.bytes_sent = 1795443511.8, 1000.0, 1000.004, 168
    info.upstream_host, info.upstream_cluster = "10.0.1.4:8080", "outbound|80||shop.default.svc.cluster.local"
    info.upstream_local_address, info.route_name = "10.0.0.7:51234", "default"
    return info


def microseconds(function: Callable[[], object], number: int = 2_000) -> float:
    """Time of one call, in microseconds."""
    return min(timeit.repeat(function, number=number, repeat=150)) / number * 1e6


def access_log() -> dict[str, float]:
    info = example()
    text = compile_text(ISTIO, FormatContext()).render
    fields = ("PROTOCOL", "RESPONSE_CODE", "BYTES_SENT", "DURATION", "UPSTREAM_HOST", "ROUTE_NAME")
    json = compile_json({name.lower(): f"%{name}%" for name in fields}, FormatContext()).render
    clock = itertools.count(1795443511.8, 0.0013).__next__

    def moving() -> str:
        info.start_wall = clock()
        return text(info)

    return {
        "Istio's access-log line": microseconds(lambda: text(info)),
        "the same, a new millisecond each time": microseconds(moving),
        "JSON line of 6 fields": microseconds(lambda: json(info)),
        "StreamInfo()": microseconds(StreamInfo),
    }


def counting() -> dict[str, float]:
    store = StatsStore()
    counter, record = (
        store.counter("cluster.up.upstream_rq_total"),
        store.histogram("cluster.up.upstream_rq_time").record,
    )
    files, line = AccessLogFiles(asyncio.new_event_loop(), store.scope("")), "x" * 300

    def add() -> None:
        counter.value += 1

    return {
        "counter.value += 1": microseconds(add),
        "histogram.record": microseconds(lambda: record(37)),
        "AccessLogFiles.write of 300 bytes": microseconds(lambda: files.write("/dev/null", line)),
        "request id": microseconds(id_source(random.Random(1).getrandbits)),
    }


def main() -> None:
    print(f"{'empty call':45} {microseconds(lambda: None):6.3f}")
    for name, cost in {**access_log(), **counting()}.items():
        print(f"{name:45} {cost:6.3f}")


if __name__ == "__main__":
    main()
