import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshproxy.balance.priority import HostCounts, PriorityLoads, share_load


def _loads(*rows: tuple[int, int, int], panic_threshold: float = 50.0, factor: int = 140) -> PriorityLoads:
    return share_load([HostCounts(*row) for row in rows], factor, panic_threshold)


@pytest.mark.parametrize(
    ("healthy", "expected"),
    [
        # The tables of Envoy's documentation, "Priority levels": per cent healthy in P=0 (and P=1) -> load.
        ((100, 100), (100, 0)),
        ((72, 100), (100, 0)),
        ((71, 100), (99, 1)),
        ((50, 100), (70, 30)),
        ((25, 100), (35, 65)),
        ((0, 100), (0, 100)),
        ((100, 100, 100), (100, 0, 0)),
        ((72, 72, 100), (100, 0, 0)),
        ((50, 60, 100), (70, 30, 0)),
        ((25, 100, 100), (35, 65, 0)),
        ((25, 25, 100), (35, 35, 30)),
        # 35 + 35 + 28 = 98 of 100 available: whole per cents rounded down, the remainder to the first.
        ((25, 25, 20), (37, 35, 28)),
    ],
)
def test_the_documented_shares(healthy: tuple[int, ...], expected: tuple[int, ...]) -> None:
    loads = _loads(*((100, count, 0) for count in healthy), panic_threshold=0)
    assert loads.healthy == expected


def test_degraded_hosts_get_what_healthy_ones_leave() -> None:
    assert _loads((100, 100, 0)) == PriorityLoads((100,), (0,), (False,))
    assert _loads((10, 5, 5)) == PriorityLoads((70,), (30,), (False,))
    loads = _loads((100, 0, 100), (100, 20, 0))
    assert (loads.healthy, loads.degraded) == ((0, 28), (72, 0))


def test_panic_ignores_health_below_the_threshold() -> None:
    assert _loads((4, 1, 0)) == PriorityLoads((100,), (0,), (True,))
    assert _loads((4, 2, 0)).panic == (False,)
    assert _loads((4, 1, 0), panic_threshold=0) == PriorityLoads((100,), (0,), (False,))
    assert _loads((4, 1, 2)).panic == (False,)
    # Full availability in all means no panic, though P=0 is below the threshold.
    assert _loads((10, 3, 0), (10, 10, 0)) == PriorityLoads((42, 58), (0, 0), (False, False))


def test_one_priority_of_several_in_panic_keeps_its_share() -> None:
    loads = _loads((100, 20, 0), (100, 51, 0))
    assert loads.panic == (True, False)
    assert loads.healthy == (29, 71)


def test_all_in_panic_share_by_size() -> None:
    assert _loads((30, 0, 0), (60, 1, 0)) == PriorityLoads((34, 66), (0, 0), (True, True))
    assert _loads((0, 0, 0), (3, 0, 0)).healthy == (0, 100)
    assert _loads((0, 0, 0)).healthy == (100,)


def test_nothing_available_and_no_panic_gives_no_load() -> None:
    assert _loads((3, 0, 0), panic_threshold=0) == PriorityLoads((0,), (0,), (False,))


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=4),
    st.sampled_from([0.0, 50.0, 100.0]),
)
def test_the_load_is_given_away_whole_and_to_someone_who_can_take_it(
    rows: list[tuple[int, int, int]], threshold: float
) -> None:
    counts = [HostCounts(healthy + degraded + bad, healthy, degraded) for healthy, degraded, bad in rows]
    loads = share_load(counts, 140, threshold)
    total = sum(loads.healthy) + sum(loads.degraded)
    available = any(count.healthy or count.degraded for count in counts)
    assert total == (100 if available or threshold else 0)
    for count, healthy, degraded, panic in zip(counts, loads.healthy, loads.degraded, loads.panic, strict=True):
        assert healthy >= 0 <= degraded
        if not panic:
            assert not healthy or count.healthy
            assert not degraded or count.degraded
