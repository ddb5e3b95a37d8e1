"""Subsets of hosts: which a request reaches, and what it falls back on (Envoy's documentation of subsets)."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from meshproxy.address import SocketAddress
from meshproxy.balance.balancer import LoadBalancer
from meshproxy.balance.host import HealthFlag
from meshproxy.balance.host_set import PrioritySet
from meshproxy.balance.policies import picker_factory
from meshproxy.balance.subset import SubsetBalancer
from meshproxy.model.cluster import LbOptions
from meshproxy.model.endpoint import Endpoint
from meshproxy.model.subset import SubsetOptions, SubsetSelector
from meshproxy.plugin.upstream import HostChoice

HOSTS: dict[int, dict[str, object]] = {
    1: {"stage": "prod", "version": "1.0", "type": "std"},
    2: {"stage": "prod", "version": "1.0", "type": "big"},
    3: {"stage": "prod", "version": "1.1", "type": "std"},
    4: {"stage": "dev", "version": "1.2", "type": "std"},
    5: {},
}


def endpoints(hosts: dict[int, dict[str, object]] = HOSTS) -> list[Endpoint]:
    return [
        Endpoint(SocketAddress(f"10.0.0.{number}", 80), metadata={"envoy.lb": fields} if fields else {})
        for number, fields in hosts.items()
    ]


def balancer(*selectors: SubsetSelector, hosts: dict[int, dict[str, object]] = HOSTS, **options: Any) -> SubsetBalancer:
    rng = random.Random(1)

    def make(hosts: Any, locality_weighted: bool) -> LoadBalancer:
        return LoadBalancer(hosts, picker_factory("ROUND_ROBIN"), LbOptions(), rng)

    return SubsetBalancer(PrioritySet(endpoints(hosts)), SubsetOptions(selectors, **options), make)


def reached(made: SubsetBalancer, **wanted: Any) -> set[int]:
    hosts = [made.pick(SimpleNamespace(lb_metadata=wanted or None, lb_hash=None)) for _ in range(20)]
    return {int(host.text.partition(":")[0].rpartition(".")[2]) for host in hosts if host is not None}


STAGE, BOTH = SubsetSelector(("stage",)), SubsetSelector(("stage", "version"))


def test_hosts_are_found_by_just_the_keys_of_a_selector() -> None:
    made = balancer(STAGE, BOTH)
    assert reached(made, stage="prod") == {1, 2, 3}
    assert reached(made, version="1.0", stage="prod") == {1, 2}
    assert reached(made, version="1.0") == set()
    assert reached(made, stage="none") == set()
    assert reached(made) == set()
    assert made.active == 5
    counts = made.take_counts()
    assert (counts["lb_subsets_created"], counts["lb_subsets_selected"], counts["lb_subsets_fallback"]) == (5, 40, 0)


def test_any_endpoint_and_default_subset() -> None:
    assert reached(balancer(STAGE, fallback="ANY_ENDPOINT"), stage="none") == {1, 2, 3, 4, 5}
    made = balancer(STAGE, fallback="DEFAULT_SUBSET", default={"stage": "prod", "type": "std"})
    assert reached(made, stage="none") == {1, 3}
    assert reached(made) == {1, 3}
    assert reached(made, stage="dev") == {4}
    assert made.take_counts()["lb_subsets_fallback"] == 40


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        ("NO_FALLBACK", set()),
        ("ANY_ENDPOINT", {1, 2, 3, 4, 5}),
        ("DEFAULT_SUBSET", {1, 3}),
        ("NOT_DEFINED", {1, 2, 3, 4, 5}),
    ],
)
def test_a_selector_has_a_fallback_of_its_own(fallback: str, expected: set[int]) -> None:
    made = balancer(
        SubsetSelector(("stage",), fallback), fallback="ANY_ENDPOINT", default={"stage": "prod", "type": "std"}
    )
    assert reached(made, stage="none") == expected


def test_fewer_keys_as_a_fallback() -> None:
    made = balancer(SubsetSelector(("stage", "version"), "KEYS_SUBSET", frozenset(("stage",))), STAGE)
    assert reached(made, stage="prod", version="9") == {1, 2, 3}
    assert reached(made, stage="none", version="9") == set()


def test_a_subset_whose_hosts_are_all_ill_is_still_chosen() -> None:
    made = balancer(STAGE, fallback="ANY_ENDPOINT")
    (dev,) = (host for host in made.priorities.hosts if host.text == "10.0.0.4:80")
    dev.set_flag(HealthFlag.FAILED_ACTIVE_HC, True)
    made.refresh()
    assert reached(made, stage="dev") == {4}  # in panic


def test_past_an_empty_default_any_host_in_panic_mode() -> None:
    made = balancer(STAGE, fallback="DEFAULT_SUBSET", default={"stage": "none"}, panic_mode_any=True)
    assert reached(made, stage="other") == {1, 2, 3, 4, 5}
    assert made.take_counts()["lb_subsets_fallback_panic"] == 20
    assert reached(balancer(STAGE, fallback="DEFAULT_SUBSET", default={"stage": "none"}), stage="other") == set()


def test_a_list_counts_as_each_of_its_values() -> None:
    hosts: dict[int, dict[str, object]] = {1: {"stage": ["a", "b"]}, 2: {"stage": "b"}}
    assert reached(balancer(STAGE, hosts=hosts, list_as_any=True), stage="b") == {1, 2}
    assert reached(balancer(STAGE, hosts=hosts), stage="b") == {2}
    assert reached(balancer(STAGE, hosts=hosts), stage=["a", "b"]) == {1}


def test_a_request_may_list_alternatives() -> None:
    made = balancer(STAGE, metadata_fallback=True)
    assert reached(made, fallback_list=[{"stage": "none"}, {"stage": "dev"}, {"stage": "prod"}]) == {4}
    assert reached(made, stage="prod", fallback_list=[]) == {1, 2, 3}


def test_one_host_for_a_value() -> None:
    made = balancer(SubsetSelector(("stage",), single_host=True))
    assert reached(made, stage="prod") == {1}


def test_redundant_keys_count_for_nothing_where_allowed() -> None:
    assert reached(balancer(STAGE, allow_redundant_keys=True), stage="dev", other="x") == {4}
    assert reached(balancer(STAGE), stage="dev", other="x") == set()


def test_subsets_come_and_go_with_their_hosts() -> None:
    made = balancer(STAGE)
    made.priorities.update(endpoints({1: {"stage": "new"}, 2: {"stage": "prod"}}))
    made.refresh()
    assert reached(made, stage="new") == {1}
    assert reached(made, stage="dev") == set()
    counts = made.take_counts()
    assert (counts["lb_subsets_created"], counts["lb_subsets_removed"], made.active) == (3, 1, 2)


def test_a_retry_keeps_to_its_subset() -> None:
    made = balancer(STAGE, fallback="ANY_ENDPOINT")
    tried = tuple(host for host in made.priorities.hosts if host.text != "10.0.0.3:80")
    context = SimpleNamespace(lb_metadata={"stage": "prod"}, lb_hash=None, lb_attempt=0)
    choice = HostChoice((lambda host, tried: host in tried,), tried, 9)
    assert {host.text for host in (made.pick_choosy(choice, context) for _ in range(5)) if host} == {"10.0.0.3:80"}
