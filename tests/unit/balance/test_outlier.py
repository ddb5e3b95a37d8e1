import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshproxy.address import SocketAddress
from meshproxy.balance.host import HealthFlag, Host
from meshproxy.balance.outlier import EjectionType, OutlierDetector, OutlierEvent, ejection_threshold
from meshproxy.model.endpoint import Endpoint
from meshproxy.model.outlier import OutlierDetection


class Lab:
    """Hosts under observation, and a log of what became of them."""

    def __init__(self, count: int = 4, **config: Any) -> None:
        config.setdefault("max_ejection_percent", 100)
        self.hosts = [Host(Endpoint(SocketAddress(f"10.0.0.{n}", 80))) for n in range(count)]
        self.log: list[tuple[int, bool]] = []
        self.detector = OutlierDetector(
            OutlierDetection(**config),
            self.hosts,
            random.Random(1),
            lambda host: self.log.append((self.hosts.index(host), bool(host.flags & HealthFlag.FAILED_OUTLIER_CHECK))),
        )

    def answer(self, index: int, *statuses: int, now: float = 0.0) -> None:
        for status in statuses:
            self.detector.on_response(self.hosts[index], status, now)

    @property
    def out(self) -> list[int]:
        return [i for i, host in enumerate(self.hosts) if host.flags & HealthFlag.FAILED_OUTLIER_CHECK]


def test_failures_in_a_row_eject_and_a_success_between_starts_anew() -> None:
    lab = Lab()
    lab.answer(0, 500, 500, 500, 500, 200, 500, 500, 500, 500)
    assert lab.out == []
    lab.answer(0, 500)
    assert (lab.out, lab.log) == ([0], [(0, True)])
    assert lab.detector.enforced[EjectionType.CONSECUTIVE_5XX] == lab.detector.ejected == 1


def test_gateway_failures_are_counted_apart() -> None:
    lab = Lab(consecutive_5xx=100, consecutive_gateway_failure=3, enforcing_consecutive_gateway_failure=100)
    lab.answer(0, 502, 503, 500, 502, 503)
    assert lab.out == []
    lab.answer(0, 504)
    assert lab.out == [0]
    assert lab.detector.enforced[EjectionType.CONSECUTIVE_GATEWAY_FAILURE] == 1


def test_what_is_not_enforced_is_only_counted() -> None:
    lab = Lab(enforcing_consecutive_5xx=0)
    lab.answer(0, *[500] * 10)
    assert (lab.out, lab.detector.detected[EjectionType.CONSECUTIVE_5XX]) == ([], 2)
    half = Lab(400, enforcing_consecutive_5xx=50)
    for index in range(400):
        half.answer(index, *[500] * 5)
    assert 160 < len(half.out) < 240


@pytest.mark.parametrize(
    ("count", "config", "out"),
    [
        # Seen with Envoy 1.40.0: 10 % of two hosts is none, of ten or twelve it is one.
        (2, {"max_ejection_percent": 10}, 0),
        (2, {"max_ejection_percent": 10, "always_eject_one_host": True}, 1),
        (10, {"max_ejection_percent": 10}, 1),
        (12, {"max_ejection_percent": 10}, 1),
        (4, {"max_ejection_percent": 50}, 2),
        (4, {"max_ejection_percent": 100}, 4),
    ],
)
def test_no_more_than_a_share_is_ejected(count: int, config: dict[str, object], out: int) -> None:
    lab = Lab(count, **config)
    for index in range(count):
        lab.answer(index, *[500] * 5)
    assert len(lab.out) == lab.detector.ejected == out
    assert lab.detector.overflow == count - out


def test_a_host_comes_back_at_an_interval_and_stays_out_longer_each_time() -> None:
    lab = Lab(base_ejection_time=30.0, max_ejection_time=70.0)
    now, outs = 0.0, []
    for _ in range(4):
        lab.answer(0, *[500] * 5, now=now)
        ejected = now
        while lab.out:
            now += 10.0
            lab.detector.on_interval(now)
        outs.append(now - ejected)
    assert outs == [30.0, 60.0, 70.0, 70.0]
    assert lab.detector.ejected == 0


def test_times_ejected_falls_while_the_host_is_well() -> None:
    lab = Lab(base_ejection_time=10.0)
    lab.answer(0, *[500] * 5)
    lab.detector.on_interval(10.0)
    monitor = lab.detector.monitor(lab.hosts[0])
    assert monitor is not None
    assert (lab.out, monitor.times_ejected) == ([], 1)
    for now in (20.0, 30.0):
        lab.detector.on_interval(now)
        assert monitor.times_ejected == 0


def test_jitter_makes_it_longer() -> None:
    lab = Lab(base_ejection_time=10.0, max_ejection_time_jitter=100.0)
    lab.answer(0, *[500] * 5)
    monitor = lab.detector.monitor(lab.hosts[0])
    assert monitor is not None
    assert 0 < monitor.jitter < 100
    lab.detector.on_interval(10.0 + monitor.jitter - 0.1)
    assert lab.out == [0]
    lab.detector.on_interval(10.0 + monitor.jitter + 0.1)
    assert lab.out == []


def test_runs_of_failures_are_forgotten_when_a_host_comes_back() -> None:
    lab = Lab(base_ejection_time=10.0)
    lab.answer(0, *[500] * 9)
    lab.detector.on_interval(10.0)
    lab.answer(0, *[500] * 4, now=10.0)
    assert lab.out == []
    lab.answer(0, 500, now=10.0)
    assert lab.out == [0]


def test_success_rate_compares_with_the_others() -> None:
    lab = Lab(6, success_rate_request_volume=10, success_rate_minimum_hosts=5)
    for index in range(6):
        lab.answer(index, *([200] * 10 if index else [200, 500] * 5))
    lab.detector.on_interval(10.0)
    assert lab.out == [0]
    assert lab.detector.enforced[EjectionType.SUCCESS_RATE] == 1
    monitor = lab.detector.monitor(lab.hosts[0])
    assert monitor is not None
    assert monitor.external.rate == 50.0
    lab.detector.on_interval(20.0)
    assert monitor.external.rate == -1.0


@pytest.mark.parametrize(
    "config", [{"success_rate_request_volume": 11}, {"success_rate_minimum_hosts": 7}, {"enforcing_success_rate": 0}]
)
def test_success_rate_needs_enough_to_judge_by(config: dict[str, object]) -> None:
    lab = Lab(6, **{"success_rate_request_volume": 10, **config})
    for index in range(6):
        lab.answer(index, *([200] * 10 if index else [200, 500] * 5))
    lab.detector.on_interval(10.0)
    assert lab.out == []


def test_the_threshold_is_the_mean_less_so_many_deviations() -> None:
    # The mean is 90, the standard deviation 20.
    assert ejection_threshold([100.0, 100.0, 100.0, 100.0, 50.0], 1900) == pytest.approx(52.0)


def test_failure_percentage_has_a_fixed_bound() -> None:
    lab = Lab(
        5,
        consecutive_5xx=100,
        failure_percentage_request_volume=10,
        enforcing_failure_percentage=100,
        enforcing_success_rate=0,
        failure_percentage_threshold=80,
    )
    for index, failures in enumerate((7, 8, 10, 0, 5)):
        lab.answer(index, *[500] * failures, *[200] * (10 - failures))
    lab.detector.on_interval(1.0)
    assert lab.out == [1, 2]
    assert lab.detector.enforced[EjectionType.FAILURE_PERCENTAGE] == 2


def test_events_count_as_answers_unless_split() -> None:
    lab = Lab(enforcing_consecutive_gateway_failure=100, consecutive_5xx=100)
    host = lab.hosts[0]
    for event in [OutlierEvent.CONNECT_FAILED, OutlierEvent.TIMEOUT, OutlierEvent.CONNECT_SUCCESS] * 2:
        lab.detector.on_event(host, event, 0.0)
    assert lab.out == []
    lab.detector.on_event(host, OutlierEvent.CONNECT_FAILED, 0.0)
    assert lab.out == [0]
    lab.detector.on_event(lab.hosts[1], OutlierEvent.REQUEST_FAILED, 0.0)
    monitor = lab.detector.monitor(lab.hosts[1])
    assert monitor is not None
    assert (monitor.consecutive_5xx, monitor.local.total) == (1, 0)


def test_split_events_are_counted_apart() -> None:
    lab = Lab(split_external_local_origin_errors=True, consecutive_local_origin_failure=2)
    host = lab.hosts[0]
    for event in (OutlierEvent.CONNECT_FAILED, OutlierEvent.CONNECT_SUCCESS, OutlierEvent.TIMEOUT):
        lab.detector.on_event(host, event, 0.0)
    lab.answer(0, *[500] * 4)
    assert lab.out == []
    lab.detector.on_event(host, OutlierEvent.CONNECT_FAILED, 0.0)
    assert lab.out == [0]
    assert lab.detector.enforced[EjectionType.CONSECUTIVE_LOCAL_ORIGIN_FAILURE] == 1


def test_a_good_active_check_brings_back_unless_told_not_to() -> None:
    for wanted, out in ((True, []), (False, [0])):
        lab = Lab(successful_active_health_check_uneject_host=wanted)
        lab.answer(0, *[500] * 5)
        lab.detector.on_active_health_check_success(lab.hosts[0], 0.0)
        assert lab.out == out


def test_hosts_that_are_gone_are_neither_counted_nor_judged() -> None:
    lab = Lab()
    lab.answer(0, *[500] * 5)
    lab.detector.update_hosts([], lab.hosts[:1])
    assert lab.detector.ejected == 0
    lab.answer(0, *[500] * 9)
    lab.detector.on_event(lab.hosts[0], OutlierEvent.TIMEOUT, 0.0)
    assert (lab.detector.ejected, lab.detector.monitor(lab.hosts[0])) == (0, None)


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([200, 500, 503, "interval", "check", "remove", "add"])),
        max_size=120,
    ),
    st.sampled_from([10, 34, 100]),
)
def test_the_count_of_ejected_hosts_is_right_whatever_happens(events: list[tuple[int, object]], percent: int) -> None:
    lab = Lab(consecutive_5xx=2, max_ejection_percent=percent, base_ejection_time=1.0)
    watched = set(lab.hosts)
    for step, (index, event) in enumerate(events):
        host = lab.hosts[index]
        if isinstance(event, int):
            lab.detector.on_response(host, event, float(step))
        elif event == "interval":
            lab.detector.on_interval(float(step))
        elif event == "check":
            lab.detector.on_active_health_check_success(host, 0.0)
        elif event == "remove" and host in watched:
            lab.detector.update_hosts([], [host])
            watched.remove(host)
            host.set_flag(HealthFlag.FAILED_OUTLIER_CHECK, False)
        elif event == "add" and host not in watched:
            lab.detector.update_hosts([host], [])
            watched.add(host)
        out = sum(bool(host.flags & HealthFlag.FAILED_OUTLIER_CHECK) for host in watched)
        assert lab.detector.ejected == out
