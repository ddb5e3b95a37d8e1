"""`--run-validation` and `check`: what they prove, what they refuse, and what they say."""

from __future__ import annotations

import pytest

from .pods import POD4, Pods

BACKENDS = ["--force-iptables-binary=legacy", "--force-iptables-binary=nft", "--native-nftables"]
FLAGS = ("-u=1337", "-g=1337", "-b=*", "-i=*", "--ipv6=on", "--probe-timeout=1500ms")
VALIDATE = ("--run-validation", "--skip-rule-apply")
DIRECTIONS = ("inbound IPv4", "outbound IPv4", "inbound IPv6", "outbound IPv6")


@pytest.mark.parametrize("backend", BACKENDS)
def test_13_root_proves_both_directions(pods: Pods, backend: str) -> None:
    done = pods.a.intercept(backend, *FLAGS, "--run-validation")
    assert done.returncode == 0, done.stderr
    for direction in DIRECTIONS:
        assert f"validation: {direction}" in done.stderr
    assert "validation passed" in done.stderr


def test_13_with_tproxy(pods: Pods) -> None:
    done = pods.a.intercept(*FLAGS, "-m=TPROXY", "--run-validation")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_13_the_proxys_uid_proves_inbound_and_says_that_outbound_is_open(pods: Pods, backend: str) -> None:
    assert pods.a.intercept(backend, *FLAGS).returncode == 0
    done = pods.a.intercept(*FLAGS, *VALIDATE, uid=1337)
    assert done.returncode == 0, done.stderr
    assert "outbound is not proven" in done.stderr


def test_13_a_uid_that_proves_nothing_fails(pods: Pods) -> None:
    assert pods.a.intercept(*FLAGS).returncode == 0
    done = pods.a.intercept(*FLAGS, *VALIDATE, uid=1000)
    assert done.returncode == 126
    assert "uid 1000 may not take that uid" in done.stderr


def test_13_without_rules(pods: Pods) -> None:
    done = pods.a.intercept(*FLAGS, *VALIDATE)
    assert done.returncode == 126
    assert "inbound IPv4: uid 1337 to 127.0.0.6:15002: refused: it was not redirected" in done.stderr
    assert "outbound IPv4: uid 65534 to 192.0.2.1:15002: no" in done.stderr


def test_13_with_the_outbound_half_missing(pods: Pods) -> None:
    assert pods.a.intercept("--native-nftables", *FLAGS).returncode == 0
    pods.a.output("nft", "flush", "chain", "inet", "istio-proxy-nat", "istio-redirect")
    done = pods.a.intercept(*FLAGS, *VALIDATE)
    assert done.returncode == 126
    assert "validation: inbound IPv4: uid 1337 to 127.0.0.6:15002 arrives at port 15006" in done.stderr
    assert "outbound IPv4: uid 65534" in done.stderr


def test_13_only_some_groups_and_networks(pods: Pods) -> None:
    done = pods.a.intercept(
        *FLAGS[:3], "-i=10.77.0.0/24", "-x=10.77.0.0/30", "-q=15999", "--ipv6=off", "--run-validation",
        ISTIO_OUTBOUND_OWNER_GROUPS="777", ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR="127.0.0.0/8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"inbound IPv4: uid 1337 to {POD4}:15002 arrives" in done.stderr
    assert "outbound IPv4: uid 65534 to 192.0.2.1:15999 arrives" in done.stderr


def test_13_while_the_proxy_runs(pods: Pods) -> None:
    assert pods.a.intercept(*FLAGS).returncode == 0
    pods.a.serve("proxy", "15001", "15006", uid=1337)
    done = pods.a.intercept(*FLAGS, *VALIDATE)
    assert done.returncode == 126
    assert "validate before it starts" in done.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_check_reports_the_backend_and_rules_in_place(pods: Pods, backend: str) -> None:
    nothing = pods.a.intercept("check", *FLAGS)
    assert nothing.returncode == 1
    assert "backend: none" in nothing.stdout
    assert pods.a.intercept(backend, *FLAGS).returncode == 0
    done = pods.a.intercept("check", *FLAGS)
    assert done.returncode == 0, done.stdout
    assert "in place, as planned" in done.stdout


def test_check_misses_routes_and_addresses(pods: Pods) -> None:
    assert pods.a.intercept(*FLAGS, "-m=TPROXY").returncode == 0
    pods.a.output("ip", "route", "flush", "table", "133")
    pods.a.output("ip", "address", "del", "::6/128", "dev", "lo")
    done = pods.a.intercept("check", *FLAGS, "-m=TPROXY")
    assert done.returncode == 1
    assert "IPv4 route in table 133 is missing" in done.stdout
    assert "address ::6 of lo is missing" in done.stdout


def test_check_names_an_application_with_the_proxys_uid(pods: Pods) -> None:
    assert pods.a.intercept(*FLAGS).returncode == 0
    pods.a.serve("proxy", "15001", "15006", uid=1337)
    assert pods.a.intercept("check", *FLAGS).returncode == 0
    pods.a.serve("app", "8080", uid=1337)
    done = pods.a.intercept("check", *FLAGS)
    assert done.returncode == 1
    assert "port 8080 is served by uid 1337" in done.stdout
