import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from meshproxy.address import SocketAddress
from meshproxy.balance.balancer import LoadBalancer
from meshproxy.balance.edf import EdfScheduler
from meshproxy.balance.host import Health, HealthFlag, Host
from meshproxy.balance.host_set import PrioritySet
from meshproxy.balance.policies import picker_factory
from meshproxy.model.cluster import LbOptions
from meshproxy.model.endpoint import Endpoint, HealthStatus, Locality
from meshproxy.plugin.upstream import HostChoice
from meshproxy.runtime_values import constant


def _endpoint(number: int, **fields: Any) -> Endpoint:
    return Endpoint(SocketAddress(f"10.0.0.{number}", 80), **fields)


def _balancer(endpoints: list[Endpoint], policy: str = "ROUND_ROBIN", seed: int = 1, **options: Any) -> LoadBalancer:
    choice_count = options.pop("choice_count", 2)
    factory = picker_factory(policy, choice_count)
    return LoadBalancer(PrioritySet(endpoints), factory, LbOptions(**options), random.Random(seed))


def _hosts(balancer: LoadBalancer) -> tuple[Host, ...]:
    assert isinstance(balancer.priorities, PrioritySet)
    return balancer.priorities.hosts


def _numbers(balancer: LoadBalancer, count: int) -> list[int]:
    hosts = [balancer.pick() for _ in range(count)]
    return [int(host.text.rpartition(":")[0].rpartition(".")[2]) for host in hosts if host is not None]


def test_round_robin_rotates_strictly_from_a_random_start() -> None:
    starts = set()
    for seed in range(30):
        picks = _numbers(_balancer([_endpoint(n) for n in (0, 1, 2)], seed=seed), 9)
        assert [(picks[0] + step) % 3 for step in range(9)] == picks
        starts.add(picks[0])
    assert starts == {0, 1, 2}


def test_weighted_round_robin_is_in_proportion_and_spread() -> None:
    balancer = _balancer([_endpoint(1, weight=1), _endpoint(2, weight=3)])
    picks = _numbers(balancer, 400)
    assert Counter(picks) == {1: 100, 2: 300}
    assert all(1 in picks[start : start + 5] for start in range(395))


def test_the_rotation_goes_on_when_hosts_change() -> None:
    balancer = _balancer([_endpoint(n) for n in (0, 1, 2, 3)])
    first = _numbers(balancer, 1)[0]
    priorities = balancer.priorities
    assert isinstance(priorities, PrioritySet)
    priorities.update([_endpoint(n) for n in (0, 1, 2, 3)])
    balancer.refresh()
    assert _numbers(balancer, 1)[0] == (first + 1) % 4


def test_random_is_even_and_ignores_weights() -> None:
    picks = Counter(_numbers(_balancer([_endpoint(1, weight=9), _endpoint(2), _endpoint(3)], "RANDOM"), 6000))
    assert all(1800 < picks[number] < 2200 for number in (1, 2, 3))


@pytest.mark.parametrize("choice_count", [2, 3, 5])
def test_least_request_prefers_the_idle_host(choice_count: int) -> None:
    balancer = _balancer([_endpoint(n) for n in range(4)], "LEAST_REQUEST", choice_count=choice_count)
    busy = _hosts(balancer)[0]
    busy.rq_active = 5
    picks = Counter(_numbers(balancer, 8000))
    # Only when every draw is the busy host does it come out: 4 ** -choice_count of the picks.
    assert abs(picks[0] - 8000 / 4**choice_count) < 8000 * 0.02
    assert all(abs(picks[number] - (8000 - picks[0]) / 3) < 250 for number in (1, 2, 3))


def test_least_request_with_weights_follows_weight_and_activity() -> None:
    balancer = _balancer([_endpoint(1, weight=1), _endpoint(2, weight=2)], "LEAST_REQUEST")
    assert Counter(_numbers(balancer, 300)) == {1: 100, 2: 200}
    _hosts(balancer)[1].rq_active = 3  # 2 / 4 against 1 / 1
    balancer.refresh()
    assert Counter(_numbers(balancer, 300)) == {1: 200, 2: 100}


def test_unknown_policy() -> None:
    with pytest.raises(ValueError, match="MAGLEV"):
        picker_factory("MAGLEV")


def test_unhealthy_hosts_are_left_out_until_panic() -> None:
    balancer = _balancer([_endpoint(n) for n in range(4)])
    hosts = _hosts(balancer)
    assert hosts[0].set_flag(HealthFlag.FAILED_OUTLIER_CHECK, True)
    assert not hosts[0].set_flag(HealthFlag.FAILED_ACTIVE_HC, True)
    balancer.refresh()
    assert set(_numbers(balancer, 20)) == {1, 2, 3}
    assert (balancer.healthy_panic, balancer.panicking) == (0, False)
    for host in hosts[1:3]:
        host.set_flag(HealthFlag.FAILED_ACTIVE_HC, True)
    balancer.refresh()
    assert set(_numbers(balancer, 20)) == {0, 1, 2, 3}
    assert (balancer.healthy_panic, balancer.panicking) == (20, True)


def test_draining_hosts_are_none_of_those_that_have_to_be_healthy() -> None:
    told = (HealthStatus.HEALTHY, HealthStatus.UNHEALTHY, HealthStatus.DRAINING, HealthStatus.DRAINING)
    balancer = _balancer([_endpoint(number, health_status=status) for number, status in enumerate(told)])
    assert set(_numbers(balancer, 20)) == {0}
    assert balancer.healthy_panic == 0


def test_panic_can_be_made_to_fail_and_can_be_off() -> None:
    endpoints = [_endpoint(n, health_status=HealthStatus.UNHEALTHY) for n in range(2)]
    failing = _balancer(endpoints, fail_traffic_on_panic=True)
    assert failing.pick() is None
    assert failing.healthy_panic == 1
    off = _balancer(endpoints, panic_threshold=constant(0.0))
    assert off.pick() is None
    assert off.healthy_panic == 0
    assert _balancer([]).pick() is None


def test_priorities_share_the_load() -> None:
    endpoints = [_endpoint(n, priority=0) for n in (1, 2)] + [_endpoint(n, priority=1) for n in (3, 4)]
    balancer = _balancer(endpoints)
    assert set(_numbers(balancer, 10)) == {1, 2}
    _hosts(balancer)[0].set_flag(HealthFlag.FAILED_ACTIVE_HC, True)
    balancer.refresh()
    picks = Counter(_numbers(balancer, 10_000))
    assert 6700 < picks[2] < 7300
    assert picks[3] == pytest.approx(picks[4], abs=1)


def test_degraded_hosts_are_used_when_healthy_ones_are_too_few() -> None:
    endpoints = [_endpoint(n, health_status=HealthStatus.DEGRADED if n else HealthStatus.HEALTHY) for n in range(2)]
    picks = Counter(_numbers(_balancer(endpoints), 10_000))
    assert 6700 < picks[0] < 7300


def test_locality_weights() -> None:
    east, west, none = Locality("r", "east"), Locality("r", "west"), Locality("r", "none")
    endpoints = [
        _endpoint(1, locality=east, locality_weight=1),
        _endpoint(2, locality=west, locality_weight=3),
        _endpoint(3, locality=west, locality_weight=3),
        _endpoint(4, locality=none),
    ]
    balancer = _balancer(endpoints, locality_weighted=True, panic_threshold=constant(0.0))
    assert Counter(_numbers(balancer, 800)) == {1: 200, 2: 300, 3: 300}
    # Half of west is gone: it keeps 70 % of its weight, 2.1 against 1.
    _hosts(balancer)[1].set_flag(HealthFlag.FAILED_ACTIVE_HC, True)
    balancer.refresh()
    picks = Counter(_numbers(balancer, 3100))
    assert picks[3] == pytest.approx(2100, abs=2)
    assert picks[1] == pytest.approx(1000, abs=2)


def test_locality_weights_without_any_weight_are_as_if_off() -> None:
    balancer = _balancer([_endpoint(1), _endpoint(2)], locality_weighted=True)
    assert Counter(_numbers(balancer, 10)) == {1: 5, 2: 5}


def test_an_update_keeps_what_stays() -> None:
    priorities = PrioritySet([_endpoint(1), _endpoint(2, weight=2), _endpoint(1)], unique=True)
    one, two = priorities.hosts
    two.rq_active = 7
    two.set_flag(HealthFlag.FAILED_OUTLIER_CHECK, True)
    added, removed = priorities.update(
        [_endpoint(2, weight=5, health_status=HealthStatus.DEGRADED), _endpoint(3, priority=1)]
    )
    assert [host.text for host in added] == ["10.0.0.3:80"]
    assert removed == [one]
    assert priorities.hosts[0] is two
    assert (two.rq_active, two.weight, two.health_flags) == (7, 5, "/failed_outlier_check/degraded_eds_health")
    priorities.update([_endpoint(2)])
    assert two.health_flags == "/failed_outlier_check"
    assert len(priorities.sets) == 1


def test_an_address_that_stands_twice_is_two_hosts_unless_unique() -> None:
    priorities = PrioritySet([_endpoint(1), _endpoint(1), _endpoint(2)])
    first, second, other = priorities.hosts
    assert priorities.update([_endpoint(1), _endpoint(2), _endpoint(1)]) == ([], [])
    assert priorities.hosts == (first, other, second)
    assert priorities.update([_endpoint(1), _endpoint(2)]) == ([], [second])


def test_a_host_that_moves_to_another_priority_is_a_new_one() -> None:
    priorities = PrioritySet([_endpoint(1)])
    added, removed = priorities.update([_endpoint(1, priority=1)])
    assert (len(added), len(removed)) == (1, 1)
    assert [len(host_set.hosts) for host_set in priorities.sets] == [0, 1]


@pytest.mark.parametrize(
    ("status", "health"),
    [
        (HealthStatus.UNKNOWN, Health.HEALTHY),
        (HealthStatus.HEALTHY, Health.HEALTHY),
        (HealthStatus.DEGRADED, Health.DEGRADED),
        (HealthStatus.UNHEALTHY, Health.UNHEALTHY),
        (HealthStatus.DRAINING, Health.UNHEALTHY),
        (HealthStatus.TIMEOUT, Health.UNHEALTHY),
    ],
)
def test_health_from_discovery(status: HealthStatus, health: Health) -> None:
    host = Host(_endpoint(1, health_status=status))
    assert host.health is health
    flags = {Health.HEALTHY: "healthy", Health.DEGRADED: "/degraded_eds_health", Health.UNHEALTHY: "/failed_eds_health"}
    assert host.health_flags == ("/eds_status_draining" if status is HealthStatus.DRAINING else flags[health])


def test_pick_avoiding_draws_again_and_gives_in_at_last() -> None:
    balancer = _balancer([_endpoint(n) for n in range(3)])
    hosts = _hosts(balancer)
    assert {balancer.pick_choosy(_avoiding(hosts[:2], 4)) for _ in range(10)} == {hosts[2]}
    assert balancer.pick_choosy(_avoiding(hosts, 4)) in hosts
    assert {balancer.pick_choosy(_avoiding(hosts[:1], 0)) for _ in range(3)} == set(hosts)
    assert _balancer([]).pick_choosy(_avoiding(hosts, 4)) is None


def _avoiding(hosts: Iterable[Host], attempts: int) -> HostChoice:
    return HostChoice((lambda host, tried: host in tried,), tuple(hosts), attempts)


def test_edf_needs_entries_and_keeps_the_order_of_equals() -> None:
    with pytest.raises(ValueError, match="nothing"):
        EdfScheduler([], lambda entry: 1.0)
    assert [EdfScheduler("abc", lambda entry: 1.0, skip).pick() for skip in range(4)] == ["a", "b", "c", "a"]
